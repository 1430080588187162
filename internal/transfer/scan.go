package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ScanRequest says what is to be copied.
type ScanRequest struct {
	Paths     [][]byte `json:"paths"`
	Recursive bool     `json:"recursive,omitempty"`
	Globs     bool     `json:"globs,omitempty"` // *, ? and [] stand for names, where no file is called so
}

// Scanner is told what a scan finds.
type Scanner struct {
	Found  func(Found) error
	Notice func(text string) // what is left out, or comes out differently
}

// maxEntries bounds one transfer: its list is held in memory, at about 300 bytes.
const maxEntries = 4 << 20

// Scan finds what req names, parents before what is in them. The Path of what is
// found begins with the last part of the path that was asked for, or with "." for
// what was asked for as "dir/.". An error means that something cannot be read and
// that nothing should be copied.
func Scan(ctx context.Context, pl Place, req ScanRequest, to Scanner) error {
	s := &scanner{ctx: ctx, place: pl, req: req, to: to}
	for _, p := range req.Paths {
		tops, err := s.expand(string(p))
		if err != nil {
			return err
		}
		for _, top := range tops {
			if err := s.top(top); err != nil {
				return err
			}
		}
	}
	if s.links > 0 {
		to.Notice(fmt.Sprintf("%d files have several names (hard links); each becomes a file of its own", s.links))
	}
	if s.other > maxNotices {
		to.Notice(fmt.Sprintf("and %d more that are no files", s.other-maxNotices))
	}
	return nil
}

// maxNotices bounds the notices about single paths.
const maxNotices = 20

type scanner struct {
	ctx   context.Context
	place Place
	req   ScanRequest
	to    Scanner
	tree  FS
	root  string
	count int
	links int
	other int
}

// top scans one path as asked for.
func (s *scanner) top(p string) error {
	abs, err := s.place.Abs(p)
	if err != nil {
		return err
	}
	if err := s.place.Policy().Check(abs); err != nil {
		return err
	}
	name := path.Base(abs)
	if strings.HasSuffix(p, "/.") || p == "." || abs == "/" {
		name = "."
	}
	real, err := s.resolve(abs, name == "." || strings.HasSuffix(p, "/"))
	if err != nil {
		return err
	}
	from, err := s.open(real)
	if err != nil {
		return err
	}
	defer s.tree.Close()
	return s.walk(from, name)
}

// resolve returns the canonical path of abs. A link at abs is followed if it must
// be a directory, or without recursion: as cp does.
func (s *scanner) resolve(abs string, dir bool) (string, error) {
	if dir || !s.req.Recursive || abs == "/" {
		return s.place.Canonical(abs)
	}
	up, err := s.place.Canonical(path.Dir(abs))
	return path.Join(up, path.Base(abs)), err
}

// open opens the tree that holds real, and returns what real is called there: in
// its parent, or by itself where the parent is outside the allowed roots.
func (s *scanner) open(real string) (from string, err error) {
	if err := s.place.Policy().Check(real); err != nil {
		return "", err
	}
	if real != "/" {
		s.root, from = path.Dir(real), path.Base(real)
		s.tree, err = s.place.Open(s.root)
	}
	if real == "/" || isRefused(err) {
		s.root, from = real, "."
		s.tree, err = s.place.Open(real)
	}
	return from, err
}

// walk finds from, below the tree, to be called name.
func (s *scanner) walk(from, name string) error {
	if err := s.ctx.Err(); err != nil {
		return context.Cause(s.ctx)
	}
	info, err := s.tree.Lstat(from)
	if err != nil {
		return err
	}
	f := Found{Entry: Entry{Path: []byte(name), Type: info.Type, Mode: info.Mode, MTime: info.MTime, Size: info.Size, ID: info.ID},
		Root: []byte(s.root), From: []byte(from)}
	switch info.Type {
	case Other:
		if s.other++; s.other <= maxNotices {
			s.to.Notice(fmt.Sprintf("%q is left out: it is a fifo, socket or device", path.Join(s.root, from)))
		}
		return nil
	case Symlink:
		text, err := s.tree.Readlink(from)
		if err != nil {
			return err
		}
		f.Link = []byte(text)
	case Dir:
		if !s.req.Recursive {
			return fmt.Errorf("%q is a directory; copy it with -r", path.Join(s.root, from))
		}
	case File:
		if info.NLink > 1 {
			s.links++
		}
	}
	if s.count++; s.count > maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	if err := s.to.Found(f); err != nil {
		return err
	}
	if info.Type != Dir {
		return nil
	}
	return s.children(from, name)
}

func (s *scanner) children(from, name string) error {
	names, err := s.tree.Names(from)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range names {
		if strings.HasPrefix(n, tempPrefix) && strings.HasSuffix(n, ".part") {
			continue // a transfer under way, or one to be resumed
		}
		err := s.walk(path.Join(from, n), path.Join(name, n))
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since the directory was read
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Records of a scan besides recEntry and recSync.
const recNotice = 'N'

// WriteScan is Scan for another process, which reads it with ReadScan.
func WriteScan(ctx context.Context, pl Place, req ScanRequest, to io.Writer) error {
	w := newRecordWriter(to)
	err := Scan(ctx, pl, req, Scanner{
		Found:  func(f Found) error { return w.doc(recEntry, f) },
		Notice: func(text string) { _ = w.put(recNotice, []byte(text)) }, // w keeps its error
	})
	if err != nil {
		return err
	}
	return errors.Join(w.put(recSync, nil), w.flush())
}

// ReadScan reads what WriteScan wrote, checking every entry: it comes from another
// machine.
func ReadScan(from io.Reader, to Scanner) error {
	r := newRecordReader(from)
	for count := 0; ; count++ {
		kind, payload, err := r.next()
		if err != nil {
			return fmt.Errorf("the list of files ended early: %w", unexpected(err))
		}
		switch kind {
		case recSync:
			return nil
		case recNotice:
			to.Notice(string(payload[:min(len(payload), maxNotice)]))
		case recEntry:
			var f Found
			if err := docOf(payload, &f); err != nil {
				return err
			}
			if err := f.valid(); err != nil {
				return fmt.Errorf("%w: %w", errProtocol, err)
			}
			if err := to.Found(f); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: record %q", errProtocol, kind)
		}
		if count > maxEntries {
			return fmt.Errorf("%w: more than %d files", errProtocol, maxEntries)
		}
	}
}

// maxNotice bounds one notice, in bytes.
const maxNotice = 8 << 10
