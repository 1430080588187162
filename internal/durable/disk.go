package durable

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// disk is the real file system.
type disk struct{}

func (disk) create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (disk) rename(from, to string) error { return os.Rename(from, to) }
func (disk) remove(path string) error     { return os.Remove(path) }
func (disk) syncDir(path string) error    { return syncDir(path) }

// maxNames bounds the search for a free name; with 128 random bits a second
// try already means that something else is wrong.
const maxNames = 3

// maxBase keeps the temporary name below 255 bytes (NAME_MAX).
const maxBase = 200

func createTemp(sys system, path string) (string, file, error) {
	base := filepath.Base(path)
	if len(base) > maxBase {
		base = base[:maxBase]
	}
	var err error
	for range maxNames {
		temp := filepath.Join(filepath.Dir(path), "."+base+"."+rand.Text()+".tmp")
		var f file
		if f, err = sys.create(temp); err == nil {
			return temp, f, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return "", nil, err
}
