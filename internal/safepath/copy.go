//go:build linux

package safepath

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Copy copies the content of src to dst, an empty file, and returns the digest and
// size of what it read. Blocks are shared where the file system can (FICLONE),
// holes stay holes.
func Copy(dst, src *os.File) (sum string, size int64, err error) {
	h := sha256.New()
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		size, err = io.Copy(h, io.NewSectionReader(dst, 0, 1<<62))
		return hex.EncodeToString(h.Sum(nil)), size, err
	}
	size, err = copySparse(dst, src, h)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// block is a compromise: large enough to hide the system calls, small enough for a
// helper that shall stay below 20 MiB.
const block = 256 << 10

func copySparse(dst, src *os.File, h hash.Hash) (int64, error) {
	st, err := src.Stat()
	if err != nil {
		return 0, err
	}
	end, buf := st.Size(), make([]byte, min(block, max(st.Size(), 4096)))
	var off int64
	for off < end {
		data, hole := extent(src, off, end)
		if err := zeros(h, data-off, buf); err != nil {
			return off, err
		}
		for off = data; off < hole; {
			n, err := src.ReadAt(buf[:min(int64(len(buf)), hole-off)], off)
			if n == 0 {
				return off, fmt.Errorf("%q shrank while it was read: %w", src.Name(), errors.Join(err, io.ErrUnexpectedEOF))
			}
			h.Write(buf[:n])
			if _, err := dst.WriteAt(buf[:n], off); err != nil {
				return off, err
			}
			off += int64(n)
		}
	}
	return end, dst.Truncate(end)
}

// extent returns where the next data at or after off begins and ends. Where the
// file system does not know, everything is data.
func extent(f *os.File, off, end int64) (data, hole int64) {
	data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return end, end
	}
	if err != nil || data < off {
		return off, end
	}
	hole, err = unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
	if err != nil || hole <= data {
		hole = end
	}
	return min(data, end), min(hole, end)
}

func zeros(h hash.Hash, n int64, buf []byte) error {
	if n <= 0 {
		return nil
	}
	clear(buf)
	for n > 0 {
		c := min(n, int64(len(buf)))
		h.Write(buf[:c])
		n -= c
	}
	return nil
}

// Overwrite writes the content of src into the existing inode of dst, keeping
// holes only where dst ends before them. Space is reserved first, so that a full
// disk is found before the old content is touched.
func Overwrite(dst, src *os.File) (sum string, err error) {
	st, err := src.Stat()
	if err != nil {
		return "", err
	}
	if st.Size() > 0 {
		// KEEP_SIZE; file systems without fallocate find out while writing.
		if err := unix.Fallocate(int(dst.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, st.Size()); errors.Is(err, unix.ENOSPC) {
			return "", fmt.Errorf("reserve space for %q: %w", dst.Name(), err)
		}
	}
	h := sha256.New()
	if _, err := io.Copy(io.NewOffsetWriter(dst, 0), io.TeeReader(io.NewSectionReader(src, 0, st.Size()), h)); err != nil {
		return "", err
	}
	if err := dst.Truncate(st.Size()); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), dst.Sync()
}
