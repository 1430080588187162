package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/internal/mcpclient"
)

// ownedFile is a file of another program that this person may edit.
type ownedFile struct {
	path string // as named
	real string // where links lead
	mode fs.FileMode
	data []byte
	info fs.FileInfo // nil if it does not exist
}

// readOwned reads a file to be edited. A link is followed, as an editor does, if it
// belongs to whoever calls: one of somebody else could lead anywhere.
func readOwned(path string) (ownedFile, error) {
	f := ownedFile{path: path, mode: 0o600}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 && !mine(info) {
		return f, fmt.Errorf("%s is a link of somebody else", path)
	}
	var err error
	if f.real, err = durable.Resolve(path); err != nil {
		return f, err
	}
	info, err := os.Lstat(f.real)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	switch {
	case !info.Mode().IsRegular():
		return f, fmt.Errorf("%s is no regular file", f.real)
	case info.Size() > mcpclient.MaxFile:
		return f, fmt.Errorf("it has %d bytes; at most %d are read", info.Size(), mcpclient.MaxFile)
	case !mine(info) && os.Geteuid() != 0:
		return f, fmt.Errorf("%s belongs to somebody else", f.real)
	}
	f.info, f.mode = info, info.Mode().Perm()
	f.data, err = os.ReadFile(f.real)
	return f, err
}

// write replaces the file, durably, with its mode and owner, unless another program has
// changed it meanwhile.
func (f ownedFile) write(data []byte) error {
	if err := os.MkdirAll(filepath.Dir(f.real), 0o700); err != nil {
		return err
	}
	now, err := os.ReadFile(f.real)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(now, f.data) {
		return errors.New("another program has changed it meanwhile; it was not touched: run it again")
	}
	if err := durable.WriteFile(f.real, data, f.mode); err != nil {
		return err
	}
	return keepOwner(f.real, f.info)
}
