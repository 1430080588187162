package durable

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

var errFault = errors.New("injected fault")

// faulty fails the step named by fail; a step before it is done for real.
type faulty struct {
	disk
	fail string
}

func (s faulty) create(path string) (file, error) {
	if s.fail == "create" {
		return nil, errFault
	}
	f, err := s.disk.create(path)
	return faultyFile{f, s.fail}, err
}

func (s faulty) rename(from, to string) error {
	if s.fail == "rename" {
		return errFault
	}
	return s.disk.rename(from, to)
}

func (s faulty) syncDir(path string) error {
	if s.fail == "syncDir" {
		return errFault
	}
	return s.disk.syncDir(path)
}

type faultyFile struct {
	file
	fail string
}

func (f faultyFile) Write(p []byte) (int, error) {
	if f.fail == "write" { // a full disk takes a part
		n, _ := f.file.Write(p[:len(p)/2])
		return n, errFault
	}
	return f.file.Write(p)
}

func (f faultyFile) Chmod(perm fs.FileMode) error {
	if f.fail == "chmod" {
		return errFault
	}
	return f.file.Chmod(perm)
}

func (f faultyFile) Sync() error {
	if f.fail == "sync" {
		return errFault
	}
	return f.file.Sync()
}

func (f faultyFile) Close() error {
	err := f.file.Close()
	if f.fail == "close" {
		return errFault
	}
	return err
}

func TestWriteFileFaults(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"create", "write", "chmod", "sync", "close", "rename"} {
		for _, exists := range []bool{true, false} {
			path := filepath.Join(t.TempDir(), "f")
			if exists {
				write(t, path, "old")
			}
			err := writeFile(faulty{fail: step}, path, []byte("new"), 0o600)
			if !errors.Is(err, errFault) || errors.Is(err, ErrNotSynced) {
				t.Errorf("%s fails: error = %v, want the fault alone", step, err)
			}
			if exists {
				wantContent(t, path, "old")
			}
			wantEntries(t, filepath.Dir(path), map[bool]int{true: 1, false: 0}[exists])
		}
	}
}

func TestWriteFileDirectoryNotSynced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "old")
	err := writeFile(faulty{fail: "syncDir"}, path, []byte("new"), 0o600)
	if !errors.Is(err, ErrNotSynced) || !errors.Is(err, errFault) {
		t.Errorf("error = %v, want ErrNotSynced and the fault", err)
	}
	wantContent(t, path, "new")
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	for _, perm := range []fs.FileMode{0o600, 0o644, 0o777, 0o400} {
		path := filepath.Join(t.TempDir(), "f")
		for _, data := range []string{"one", "", "two\x00\xff"} {
			if err := WriteFile(path, []byte(data), perm); err != nil {
				t.Fatal(err)
			}
			wantContent(t, path, data)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != perm {
			t.Errorf("mode = %v, %v; want %v", info.Mode(), err, perm)
		}
		wantEntries(t, filepath.Dir(path), 1)
	}
}

func TestWriteFileKeepsOldInodeForReaders(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "old")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil || b.String() != "old" {
		t.Errorf("open reader sees %q, %v; want the old content whole", b.String(), err)
	}
}

func TestWriteFileLongName(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), string(bytes.Repeat([]byte{'n'}, 255)))
	if err := WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantContent(t, path, "x")
}

func TestWriteFileThroughLink(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, link string // the link's text, relative to its directory
		existing   bool
	}{
		{"relative", "../dotfiles/c", true},
		{"absolute", "ABS/dotfiles/c", true},
		{"dangling", "../dotfiles/c", false},
		{"chain", "../dotfiles/hop", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			mkdir(t, root, "home", "dotfiles")
			real := filepath.Join(root, "dotfiles", "c")
			if tt.existing {
				write(t, real, "old")
			}
			link(t, "c", filepath.Join(root, "dotfiles", "hop"))
			text := tt.link
			if text[0] == 'A' {
				text = root + text[3:]
			}
			path := filepath.Join(root, "home", "c")
			link(t, text, path)
			if err := WriteFile(path, []byte("new"), 0o600); err != nil {
				t.Fatal(err)
			}
			wantContent(t, real, "new")
			if got, err := os.Readlink(path); err != nil || got != text {
				t.Errorf("link = %q, %v; want it kept as %q", got, err, text)
			}
		})
	}
}

// A link through a linked directory leads where the kernel says, not where
// lexical cleaning of ".." would.
func TestResolveDoesNotCleanDotDot(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	mkdir(t, root, "a/b", "home")
	link(t, filepath.Join(root, "a", "b"), filepath.Join(root, "home", "d"))
	link(t, "d/../c", filepath.Join(root, "home", "c"))
	if err := WriteFile(filepath.Join(root, "home", "c"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantContent(t, filepath.Join(root, "a", "c"), "x")
}

func TestWriteFileRefuses(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	mkdir(t, root, "dir")
	link(t, "loop", filepath.Join(root, "loop"))
	for _, path := range []string{"dir", "loop", "missing/f"} {
		if err := WriteFile(filepath.Join(root, path), []byte("x"), 0o600); err == nil {
			t.Errorf("WriteFile(%q) = nil, want an error", path)
		}
	}
	wantEntries(t, root, 2)
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, root string, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func link(t *testing.T, text, path string) {
	t.Helper()
	if err := os.Symlink(text, path); err != nil {
		t.Fatal(err)
	}
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
}

func wantEntries(t *testing.T, dir string, want int) {
	t.Helper()
	got, err := os.ReadDir(dir)
	if err != nil || len(got) != want {
		t.Errorf("%s has %v, %v; want %d entries", dir, got, err, want)
	}
}
