package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	noDirSync = false
	noModes   = false
)

// moreInfo adds what only the system knows.
func moreInfo(i *Info, fi fs.FileInfo) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	i.UID, i.GID, i.NLink = int(st.Uid), int(st.Gid), uint64(st.Nlink) //nolint:unconvert // types differ between architectures
	i.Sparse = i.Type == File && st.Blocks*512 < st.Size
	i.ID = fmt.Sprintf("%d.%d.%d", st.Dev, st.Ino, st.Ctim.Nano())
}

func ownFile(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// holeAt returns the length of the hole at off, to the end of the file at most.
func holeAt(f *os.File, off int64) int64 {
	data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		if fi, err := f.Stat(); err == nil {
			return max(fi.Size()-off, 0)
		}
	}
	if err != nil {
		return 0
	}
	return data - off
}

// startWriting begins to write a stretch to the disk and does not wait for it;
// errors come back from the sync later (sync_file_range(2)).
func startWriting(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// lockFile excludes other transfers to the same temporary. The lock ends with the
// file being closed.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrBusy
	}
	if errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.ENOTSUP) {
		return nil // some network file systems: then the digest decides
	}
	return err
}

// syncFileSystem makes everything on the file system of f durable. Since Linux 5.8
// it reports what could not be written (syncfs(2)).
func syncFileSystem(f *os.File) error { return unix.Syncfs(int(f.Fd())) }

// canonicalOf is where an open directory stands.
func canonicalOf(d *os.Root, _ string) (string, error) {
	f, err := d.Open(".")
	if err != nil {
		return "", err
	}
	defer f.Close()
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
}
