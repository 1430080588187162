package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Reader reads a log that others may be writing. It takes no lock, changes
// nothing, and works on a copy of the directory. Methods may be called
// concurrently; each sees the entries there are when it starts, or more.
type Reader struct {
	dir, headFile string
	poll          time.Duration
}

// pollInterval is how often Tail looks for new entries: soon enough for a
// person who watches, two system calls each.
const pollInterval = 200 * time.Millisecond

// NewReader returns a Reader of the log in dir. headFile is "" if the head is
// in the directory. It does no I/O.
func NewReader(dir, headFile string) *Reader {
	if headFile == "" {
		headFile = filepath.Join(dir, headName)
	}
	return &Reader{dir: dir, headFile: headFile, poll: pollInterval}
}

// Filter selects entries. Zero fields select all.
type Filter struct {
	Since, Until time.Time // Since <= time < Until
	Verb         string
	Target       string
	Actor        string // user
	Session      string
	Status       Status // selects outcomes
	Event        Event
	ID           string
	AfterSeq     uint64 // entries with a greater number
	Limit        int    // at most so many
	OldestFirst  bool   // the newest come first otherwise
}

func (f Filter) match(e *Entry) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	switch {
	case !f.Since.IsZero() && e.Time.Before(f.Since), !f.Until.IsZero() && !e.Time.Before(f.Until):
		return false
	case e.Seq <= f.AfterSeq:
		return false
	case f.Status != "" && (e.Result == nil || e.Result.Status != f.Status):
		return false
	}
	return is(f.Verb, e.Verb) && is(f.Target, e.Target) && is(f.Actor, e.Actor.User) &&
		is(f.Session, e.Session) && is(f.ID, e.ID) && is(string(f.Event), string(e.Event))
}

// List yields the entries that f selects. A line that is no entry, or was
// edited, is yielded as a *LineError, never as an entry; the caller may go on.
// A line being written is left out. List does not check the chain: see
// [Reader.Verify]. No log yields nothing.
func (r *Reader) List(ctx context.Context, f Filter) iter.Seq2[Entry, error] {
	all := r.newestFirst(ctx)
	if f.OldestFirst {
		all = r.oldestFirst(ctx)
	}
	return func(yield func(Entry, error) bool) {
		n := 0
		for e, err := range all {
			if err == nil && !f.OldestFirst && e.Seq <= f.AfterSeq {
				return
			}
			if err == nil && !f.match(&e) {
				continue
			}
			if !yield(e, err) {
				return
			}
			if err == nil {
				n++
			}
			if n == f.Limit && n > 0 {
				return
			}
		}
	}
}

// snapshot returns the segments there are, oldest first. The active one is
// opened before the others are listed: if it is rotated in between, it is seen
// twice and dropped once, never missed.
func (r *Reader) snapshot() ([]segment, error) {
	active, err := openNoFollow(filepath.Join(r.dir, activeName), os.O_RDONLY)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out, err := closedSegments(r.dir)
	if err != nil || active == nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return out, err
	}
	mine, err := active.Stat()
	if err != nil {
		return nil, errors.Join(err, active.Close())
	}
	number := 1
	for i := len(out) - 1; i >= 0; i-- {
		other, err := os.Lstat(out[i].path)
		if err == nil && os.SameFile(mine, other) {
			return out[:i+1], active.Close() // rotated meanwhile
		}
		number = max(number, out[i].number+1)
	}
	return append(out, segment{name: activeName, path: active.Name(), number: number, open: active}), nil
}

// Stamp tells one state of the log from another without reading it: names, sizes and
// times of change of its files, and of the head. Whoever can set a file's time can keep
// it; Verify cannot be deceived so.
func (r *Reader) Stamp() (string, error) {
	segments, err := r.snapshot()
	if err != nil {
		return "", fmt.Errorf("list segments: %w", err)
	}
	defer closeAll(segments)
	var b strings.Builder
	files := []string{r.headFile}
	for _, s := range segments {
		files = append(files, s.path)
	}
	for _, name := range files {
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), nil
}

func closeAll(segments []segment) {
	for _, s := range segments {
		if s.open != nil {
			s.open.Close() // only read from
		}
	}
}

func (r *Reader) oldestFirst(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		segments, err := r.snapshot()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer closeAll(segments)
		for l, err := range forward(ctx, segments) {
			if err == nil && l.torn && l.last {
				return
			}
			if !yieldLine(l, err, yield) {
				return
			}
		}
	}
}

func yieldLine(l line, err error, yield func(Entry, error) bool) bool {
	if err != nil {
		yield(Entry{}, err)
		return false
	}
	e, err := parseLine(l)
	if err != nil {
		return yield(Entry{}, &LineError{l.segment.name, l.number, err})
	}
	return yield(e, nil)
}

func parseLine(l line) (Entry, error) {
	if l.torn {
		return Entry{}, errors.Join(ErrUnparseable, io.ErrUnexpectedEOF)
	}
	return ParseEntry(l.text)
}

func (r *Reader) newestFirst(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		segments, err := r.snapshot()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer closeAll(segments)
		for i := range slices.Backward(segments) {
			if !backwardIn(ctx, &segments[i], yield) {
				return
			}
		}
	}
}

func backwardIn(ctx context.Context, s *segment, yield func(Entry, error) bool) bool {
	active := s.open != nil
	f, err := s.reader()
	if err != nil {
		yield(Entry{}, err)
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		yield(Entry{}, err)
		return false
	}
	b := newBackward(f, info.Size())
	torn, err := b.torn()
	if err == nil && len(torn) > 0 && !active {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !yield(Entry{}, &LineError{s.name, 0, err}) {
		return false
	}
	for err == nil {
		var text []byte
		if text, err = b.next(); err != nil {
			break
		}
		if ctx.Err() != nil {
			yield(Entry{}, ctx.Err())
			return false
		}
		if !yieldLine(line{segment: s, text: text}, nil, yield) {
			return false
		}
	}
	if err != io.EOF {
		return yield(Entry{}, &LineError{s.name, 0, err})
	}
	return true
}

// Tail calls fn with the last n entries, oldest first, and if follow is set
// with every further entry until ctx is done, which it then returns nil for. An
// error of fn ends Tail and is returned.
func (r *Reader) Tail(ctx context.Context, n int, follow bool, fn func(Entry) error) error {
	last, err := r.deliver(ctx, Filter{Limit: n}, n > 0, fn)
	if err != nil || !follow {
		return err
	}
	tick := time.NewTicker(r.poll)
	defer tick.Stop()
	var seen fs.FileInfo
	for {
		if info, err := os.Lstat(filepath.Join(r.dir, activeName)); err == nil && changed(seen, info) {
			seen = info
			if last, err = r.deliver(ctx, Filter{AfterSeq: last}, true, fn); err != nil {
				return ignoreDone(ctx, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func ignoreDone(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func changed(a, b fs.FileInfo) bool {
	return a == nil || !os.SameFile(a, b) || a.Size() != b.Size()
}

// deliver calls fn with the newest entries that f selects, oldest first, and
// returns the number of the last entry there is.
func (r *Reader) deliver(ctx context.Context, f Filter, call bool, fn func(Entry) error) (uint64, error) {
	last := f.AfterSeq
	var got []Entry
	for e, err := range r.List(ctx, f) {
		if err != nil {
			return last, err
		}
		last = max(last, e.Seq)
		if !call {
			return last, nil
		}
		got = append(got, e)
	}
	for _, e := range slices.Backward(got) {
		if err := fn(e); err != nil {
			return last, err
		}
	}
	return last, nil
}
