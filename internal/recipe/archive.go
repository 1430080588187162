package recipe

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/bowline-sh/bowline/diag"
)

// Size is what an archive holds.
type Size struct {
	Files int
	Bytes int64    // of content
	Left  []string // that were left out: sockets, fifos, devices, and links out of the context, which Podman refuses
}

// Name is the path of the Containerfile in the archive. One from elsewhere has a name
// of its content, so that an unchanged build stays one.
func (b Build) Name() string {
	if b.Path != "" {
		return b.Path
	}
	return ".bowline-containerfile-" + b.Sum()[:16]
}

// Archive writes the tar of a build.
func (b Build) Archive(to io.Writer) (Size, error) {
	a := &archive{w: tar.NewWriter(to), containerfile: b.Name()}
	err := a.write("", &tar.Header{Typeflag: tar.TypeReg, Name: b.Name(), Mode: 0o644, Size: int64(len(b.Containerfile))}, bytes.NewReader(b.Containerfile))
	if err == nil && b.Context != "" {
		err = a.tree(b.Context)
	}
	if err == nil {
		err = a.w.Close()
	}
	return a.size, err
}

type archive struct {
	w             *tar.Writer
	containerfile string // that is written already
	ignore        *patternmatcher.PatternMatcher
	size          Size
}

// ignoreFiles say what stays here; the first that is there counts.
var ignoreFiles = []string{".containerignore", ".dockerignore"}

func (a *archive) tree(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return diag.New(diag.Usage, "read the context", "", "%w", err)
	}
	defer root.Close()
	if a.ignore, err = ignored(root); err != nil {
		return err
	}
	return a.below(root, ".", patternmatcher.MatchInfo{})
}

func ignored(root *os.Root) (*patternmatcher.PatternMatcher, error) {
	for _, name := range ignoreFiles {
		f, err := root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var patterns []string
		if err == nil {
			patterns, err = ignorefile.ReadAll(f)
			_ = f.Close() // it was read
		}
		var m *patternmatcher.PatternMatcher
		if err == nil {
			m, err = patternmatcher.New(patterns)
		}
		if err != nil {
			return nil, diag.New(diag.Usage, "read "+name, "", "%w", err)
		}
		return m, nil
	}
	return patternmatcher.New(nil)
}

// below writes what is in dir, a path below root.
func (a *archive) below(root *os.Root, dir string, parent patternmatcher.MatchInfo) error {
	list, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return diag.New(diag.Failure, "read the context", "leave it out by a line in .containerignore", "%w", err)
	}
	for _, d := range list {
		if err := a.entry(root, path.Join(dir, d.Name()), parent); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) entry(root *os.Root, name string, parent patternmatcher.MatchInfo) error {
	out, info, err := a.ignore.MatchesUsingParentResults(name, parent)
	if err != nil {
		return diag.New(diag.Usage, "read .containerignore", "", "%s: %w", name, err)
	}
	fi, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went meanwhile
	}
	if err != nil {
		return diag.New(diag.Failure, "read the context", "", "%w", err)
	}
	if !out && name != a.containerfile {
		if err := a.put(root, name, fi); err != nil {
			return err
		}
	}
	if fi.IsDir() && (!out || a.ignore.Exclusions()) {
		return a.below(root, name, info)
	}
	return nil
}

// put writes one entry.
func (a *archive) put(root *os.Root, name string, fi fs.FileInfo) error {
	h := &tar.Header{Name: name, Mode: int64(fi.Mode().Perm()), ModTime: fi.ModTime()}
	if fi.Mode()&fs.ModeSetuid != 0 {
		h.Mode |= 0o4000
	}
	switch {
	case fi.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return a.write(name, h, nil)
	case fi.Mode()&fs.ModeSymlink != 0:
		text, err := root.Readlink(name)
		if err != nil {
			return diag.New(diag.Failure, "read the context", "", "%w", err)
		}
		if !strings.HasPrefix(text, "/") && !filepath.IsLocal(filepath.Join(filepath.Dir(name), text)) {
			a.size.Left = append(a.size.Left, name)
			return nil
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, text
		return a.write(name, h, nil)
	case !fi.Mode().IsRegular():
		a.size.Left = append(a.size.Left, name)
		return nil
	}
	f, err := root.Open(name)
	if err != nil {
		return diag.New(diag.Failure, "read the context", "leave it out by a line in .containerignore", "%w", err)
	}
	defer f.Close()
	// What is open is what is sent: the name may be another file by now.
	now, err := f.Stat()
	if err != nil || !now.Mode().IsRegular() {
		return diag.New(diag.Failure, "read the context", "type it again", "%s changed while it was read", name)
	}
	h.Typeflag, h.Size = tar.TypeReg, now.Size()
	return a.write(name, h, f)
}

func (a *archive) write(name string, h *tar.Header, content io.Reader) error {
	err := a.w.WriteHeader(h)
	if err == nil && content != nil {
		var n int64
		n, err = io.Copy(a.w, io.LimitReader(content, h.Size))
		if err == nil && n < h.Size {
			err = fmt.Errorf("%s became shorter while it was read", name)
		}
		a.size.Files++
		a.size.Bytes += n
	}
	if err != nil {
		return diag.New(diag.Failure, "send the context", "", "%s: %w", strings.TrimPrefix(h.Name, "./"), err)
	}
	return nil
}
