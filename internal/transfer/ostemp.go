package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"time"
)

// osTemp is a Temp on this machine.
type osTemp struct {
	tree   *osFS
	dir    *os.Root // of tree, which holds it open
	parent string   // path of dir
	name   string
	temp   string
	f      *os.File // nil when closed
	old    *os.File // the basis where it is not f
	locked bool     // the lock on f must be kept until it is in place
	basis  Basis
	h      hash.Hash
	off    int64
	begun  int64 // up to where the kernel was told to write
}

func (x *osTemp) open(o TempOptions) error {
	f, err := x.dir.OpenFile(x.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if o.Resume && errors.Is(err, fs.ErrExist) {
		return x.reopen(o)
	}
	if err != nil {
		return err
	}
	x.f = f
	if err := lockFile(f); err != nil {
		return errors.Join(err, x.f.Close())
	}
	return x.openOld(o)
}

// openOld looks at the file that is to be replaced.
func (x *osTemp) openOld(o TempOptions) error {
	if !o.Basis {
		return nil
	}
	old, err := openRegular(x.dir, x.name)
	if err != nil {
		return nil // nothing there that could help
	}
	if fi, err := old.Stat(); err != nil || fi.Size() < basisFrom || fi.Size() < o.Size/4 {
		return old.Close()
	}
	if x.basis.Old, err = oldChunks(io.NewSectionReader(old, 0, math.MaxInt64), o.Size); err != nil {
		x.basis.Old = nil
		return old.Close()
	}
	x.old = old
	return nil
}

// reopen goes on with a temporary that an earlier transfer left.
func (x *osTemp) reopen(o TempOptions) error {
	seen, err := x.dir.Lstat(x.temp)
	if err != nil {
		return err
	}
	if !seen.Mode().IsRegular() || !ownFile(seen) {
		return fmt.Errorf("%q is not ours", x.temp)
	}
	f, err := x.dir.OpenFile(x.temp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	switch {
	case err == nil && !os.SameFile(seen, fi):
		err = fmt.Errorf("%q was replaced while it was opened", x.temp)
	case err == nil:
		err = lockFile(f)
	}
	if err == nil {
		// Whoever had the lock before may have put it in place.
		if seen, err = x.dir.Lstat(x.temp); err != nil || !os.SameFile(seen, fi) {
			err = errors.Join(ErrBusy, err)
		}
	}
	if err == nil && o.Basis {
		x.basis.Chunks, err = chunksOf(f, o.Size)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	x.f = f
	return x.openOld(o)
}

// chunksOf computes the digests of the whole chunks of f, for a file of size bytes.
func chunksOf(f *os.File, size int64) ([]Chunk, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var out []Chunk
	for off, n := int64(0), chunkFor(size); off < min(fi.Size(), size); off += n {
		c := min(n, size-off)
		if off+c > fi.Size() {
			break
		}
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f, off, c)); err != nil {
			return nil, err
		}
		out = append(out, Chunk{c, h.Sum(nil)})
	}
	return out, nil
}

func (x *osTemp) Basis() Basis { return x.basis }

// Write writes and hashes at the same time. After an error the digest is no good,
// and the temporary is discarded.
func (x *osTemp) Write(p []byte) (int, error) {
	hashed := make(chan struct{})
	hash := func() {
		x.h.Write(p)
		close(hashed)
	}
	if len(p) < apart {
		hash()
	} else {
		go hash()
	}
	n, err := x.f.WriteAt(p, x.off)
	<-hashed
	x.off += int64(n)
	x.writeBehind()
	return n, err
}

// apart is from how many bytes on hashing is worth a goroutine.
const apart = 64 << 10

// writeBehind lets the disk work while the link does.
func (x *osTemp) writeBehind() {
	const step = 8 << 20
	if x.off-x.begun >= step {
		startWriting(x.f, x.begun, x.off-x.begun)
		x.begun = x.off
	}
}

// Zero leaves a hole. What a resumed file holds there is overwritten.
func (x *osTemp) Zero(n int64) error {
	fi, err := x.f.Stat()
	if err != nil {
		return err
	}
	for end := min(fi.Size(), x.off+n); x.off < end; {
		c := min(end-x.off, int64(len(zeros)))
		if _, err := x.Write(zeros[:c]); err != nil {
			return err
		}
		n -= c
	}
	hashZeros(x.h, n)
	x.off += n
	return nil
}

func (x *osTemp) Keep(off, n int64) error {
	if off != x.off {
		return fmt.Errorf("%w: kept bytes at another place", errProtocol)
	}
	m, err := io.Copy(x.h, io.NewSectionReader(x.f, off, n))
	x.off += m
	return errors.Join(err, shortKeep(m, n))
}

// KeepOld leaves holes of the older version holes.
func (x *osTemp) KeepOld(off, n int64) error {
	if x.old == nil {
		return fmt.Errorf("%w: there is no older version", errProtocol)
	}
	for buf := make([]byte, min(n, Block)); n > 0; {
		if hole := min(holeAt(x.old, off), n); hole > 0 {
			if err := x.Zero(hole); err != nil {
				return err
			}
			off, n = off+hole, n-hole
			continue
		}
		m, err := x.old.ReadAt(buf[:min(n, Block)], off)
		if m == 0 {
			return errors.Join(shortKeep(0, n), err)
		}
		if _, err := x.Write(buf[:m]); err != nil {
			return err
		}
		off, n = off+int64(m), n-int64(m)
	}
	return nil
}

func shortKeep(got, want int64) error {
	if got == want {
		return nil
	}
	return errors.New("what was there already was changed meanwhile")
}

func (x *osTemp) Digest(context.Context) (sum [32]byte, by string, err error) {
	return [32]byte(x.h.Sum(nil)), "bowline", nil
}

func (x *osTemp) Commit(m Meta) error {
	if err := x.f.Truncate(x.off); err != nil {
		return err
	}
	if err := x.owner(m); err != nil {
		return err
	}
	if err := x.f.Chmod(fileMode(m.Mode)); err != nil && !noModes {
		return err
	}
	if m.MTime != 0 {
		when := time.Unix(0, m.MTime)
		if err := x.dir.Chtimes(x.temp, when, when); err != nil {
			return err
		}
	}
	if x.locked || x.off > keepOpen {
		return nil
	}
	return x.closeFiles() // thousands may wait to be synced together
}

// keepOpen is up to which size files are closed while they wait, in bytes.
const keepOpen = 1 << 20

// owner sets the owner that was asked for, or keeps that of the file in place
// where this account may.
func (x *osTemp) owner(m Meta) error {
	if m.UID >= 0 || m.GID >= 0 {
		return x.f.Chown(m.UID, m.GID)
	}
	old, err := x.dir.Lstat(x.name)
	if err != nil || !old.Mode().IsRegular() {
		return nil
	}
	if i := infoOf(old); os.Geteuid() == 0 && (i.UID != 0 || i.GID != 0) {
		return x.f.Chown(i.UID, i.GID)
	}
	return nil
}

// fileMode turns permission bits as the system has them into Go's.
func fileMode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	if m&0o4000 != 0 {
		out |= fs.ModeSetuid
	}
	if m&0o2000 != 0 {
		out |= fs.ModeSetgid
	}
	if m&0o1000 != 0 {
		out |= fs.ModeSticky
	}
	return out
}

func (x *osTemp) Discard(keep bool) error {
	defer x.done()
	var err error
	if keep && x.f != nil {
		err = x.f.Sync()
	}
	err = errors.Join(err, x.closeFiles())
	if !keep {
		err = errors.Join(err, x.dir.Remove(x.temp))
	}
	return err
}

// done lets go of the directory.
func (x *osTemp) done() { x.tree.held[x.parent]-- }

func (x *osTemp) closeFiles() error {
	var err error
	if x.f != nil {
		err = x.f.Close()
	}
	if x.old != nil {
		err = errors.Join(err, x.old.Close())
	}
	x.f, x.old = nil, nil
	return err
}

// sync makes the content durable.
func (x *osTemp) sync() error {
	if x.f != nil {
		return x.f.Sync()
	}
	f, err := openRegular(x.dir, x.temp)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncTogether is from how many files on one syncfs costs less than a sync of each.
const syncTogether = 8

// Flush is described at FS.
func (t *osFS) Flush(list []Temp) []error {
	errs := make([]error, len(list))
	together := len(list) >= syncTogether && t.syncAll() == nil
	dirs := map[string]*os.Root{}
	for i, temp := range list {
		x, ok := temp.(*osTemp)
		if !ok {
			panic("transfer: a Temp of another FS")
		}
		if errs[i] = x.install(together); errs[i] == nil {
			dirs[x.parent] = x.dir
		}
	}
	t.syncNames(list, errs, dirs)
	for _, temp := range list {
		temp.(*osTemp).done() // seen above
	}
	return errs
}

// install puts the file under its name.
func (x *osTemp) install(synced bool) error {
	var err error
	if !synced {
		err = x.sync()
	}
	if err == nil {
		err = x.dir.Rename(x.temp, x.name)
	}
	err = errors.Join(err, x.closeFiles())
	if err != nil {
		err = errors.Join(err, x.dir.Remove(x.temp))
	}
	return err
}

// syncNames makes the renames durable.
func (t *osFS) syncNames(list []Temp, errs []error, dirs map[string]*os.Root) {
	if len(dirs) >= syncTogether && t.syncAll() == nil {
		return
	}
	failed := map[string]error{}
	for p, d := range dirs {
		failed[p] = syncDir(d)
	}
	for i, temp := range list {
		if x, ok := temp.(*osTemp); ok && errs[i] == nil && failed[x.parent] != nil {
			errs[i] = fmt.Errorf("in place, but a power cut may take it back: %w", failed[x.parent])
		}
	}
}

func (t *osFS) syncAll() error {
	f, err := t.dirs["."].Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return syncFileSystem(f)
}
