//go:build linux

package overlay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// contents keeps what a plan needs in a directory, each content in a file named by
// its SHA-256. The directory belongs to a session that nobody knows yet, so a file
// is written under its final name and nothing is synced: who makes the session
// known syncs all of it first, and of a dry run that failed the whole directory is
// thrown away.
//
// Neither FICLONE nor copy_file_range can help: the source is a tmpfs, and every
// byte must be hashed on its way, because the script may still be writing.
type contents struct {
	dir   int // descriptor of the directory
	have  map[string]bool
	bytes int64 // kept
	limit int64 // of bytes
}

// chunk is what one read takes, in bytes; larger ones are no faster.
const chunk = 256 << 10

func newContents(dir int, limit int64) *contents {
	return &contents{dir: dir, have: map[string]bool{}, limit: limit}
}

// content is a file to be kept: where it lies, and what was found in it.
type content struct {
	path string
	size int64
	sum  string
}

// add reserves a place for a content. It reports whether it has to be kept now.
func (c *contents) add(sum string, size int64) (bool, error) {
	if c.have[sum] {
		return false, nil
	}
	if size > c.limit-c.bytes {
		return false, refuse("the script wrote more than %d bytes", c.limit)
	}
	c.have[sum], c.bytes = true, c.bytes+size
	return true, nil
}

// keepBytes stores b and returns its digest.
func (c *contents) keepBytes(b []byte) (string, error) {
	h := sha256.Sum256(b)
	sum := hex.EncodeToString(h[:])
	fresh, err := c.add(sum, int64(len(b)))
	if err != nil || !fresh {
		return sum, err
	}
	return sum, c.keep(sum, func(to int) (string, error) { return sum, writeAt(to, b, 0) })
}

// keepers is how many files are copied at a time; most of it is waiting for locks
// of the two file systems.
const keepers = 4

// keepFiles stores files that were added. After an error some of them are missing.
func (c *contents) keepFiles(files []content) error {
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, min(keepers, len(files)))
	for w := range errs {
		all.Go(func() {
			buf := make([]byte, chunk)
			for i := next.Add(1) - 1; int(i) < len(files) && errs[w] == nil; i = next.Add(1) - 1 {
				errs[w] = c.keepFile(files[i], buf)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (c *contents) keepFile(f content, buf []byte) error {
	from, err := openPlain(f.path)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	return c.keep(f.sum, func(to int) (string, error) { return copyFrom(from, to, f.size, buf) })
}

func (c *contents) keep(sum string, write func(to int) (string, error)) error {
	to, err := unix.Openat(c.dir, sum, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("keep content: %w", err)
	}
	got, err := write(to)
	if err := errors.Join(err, unix.Close(to)); err != nil {
		return fmt.Errorf("keep content: %w", err)
	}
	if got != sum {
		return fmt.Errorf("content changed while it was captured: %s, then %s", sum, got)
	}
	return nil
}

// copyFrom writes size bytes of from to an empty file, with holes for zeros, and
// returns their digest. What grows while it is read would never end.
func copyFrom(from, to int, size int64, buf []byte) (string, error) {
	h := sha256.New()
	holes := false
	for off := int64(0); off < size; {
		n, err := readFull(from, buf[:min(size-off, chunk)])
		if err != nil {
			return "", err
		}
		if n == 0 {
			break
		}
		b := buf[:n]
		h.Write(b)
		if n == chunk && isZero(b) {
			holes = true
		} else if err := writeAt(to, b, off); err != nil {
			return "", err
		}
		off += int64(n)
	}
	if holes {
		if err := unix.Ftruncate(to, size); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func writeAt(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, off)
		if err != nil && err != unix.EINTR {
			return err
		}
		b, off = b[max(n, 0):], off+int64(max(n, 0))
	}
	return nil
}

// isZero reports whether b, which is not empty, holds zeros alone.
func isZero(b []byte) bool { return b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }
