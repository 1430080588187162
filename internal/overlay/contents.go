//go:build linux

package overlay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

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
	bytes int64  // kept
	limit int64  // of bytes
	buf   []byte // lent to who reads or writes one file
}

// chunk is what one read takes, in bytes; larger ones are no faster.
const chunk = 256 << 10

func newContents(dir int, limit int64) *contents {
	return &contents{dir: dir, have: map[string]bool{}, limit: limit, buf: make([]byte, chunk)}
}

// keepFile stores what there is to read from fd: size bytes with the digest sum.
func (c *contents) keepFile(fd int, size int64, sum string) error {
	return c.keep(size, sum, func(to int) (string, error) { return c.copy(to, fd, size) })
}

// keepBytes stores b and returns its digest.
func (c *contents) keepBytes(b []byte) (string, error) {
	h := sha256.Sum256(b)
	sum := hex.EncodeToString(h[:])
	return sum, c.keep(int64(len(b)), sum, func(to int) (string, error) { return sum, writeAt(to, b, 0) })
}

func (c *contents) keep(size int64, sum string, write func(to int) (string, error)) error {
	if c.have[sum] {
		return nil
	}
	if size > c.limit-c.bytes {
		return refuse("the script wrote more than %d bytes", c.limit)
	}
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
	c.have[sum], c.bytes = true, c.bytes+size
	return nil
}

// copy writes size bytes of from to an empty file, with holes for zeros, and
// returns their digest. What grows while it is read would never end.
func (c *contents) copy(to, from int, size int64) (string, error) {
	h := sha256.New()
	holes := false
	for off := int64(0); off < size; {
		n, err := readFull(from, c.buf[:min(size-off, chunk)])
		if err != nil {
			return "", err
		}
		if n == 0 {
			break
		}
		b := c.buf[:n]
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
