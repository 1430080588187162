package agentless

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/pkg/sftp"

	"github.com/bowline-sh/bowline/internal/transfer"
)

// temp is a file on its way to a target over SFTP.
type temp struct {
	t      *tree
	full   string // where it is to stand
	name   string // the temporary
	f      *sftp.File
	off    int64
	chunks []transfer.Chunk

	pw   *io.PipeWriter // to the goroutine that writes; nil when none runs
	done chan error
}

func (t *tree) Create(p string, o transfer.TempOptions) (transfer.Temp, error) {
	full, err := t.at(p)
	if err != nil {
		return nil, err
	}
	x := &temp{t: t, full: full, name: o.Name}
	if x.name == "" {
		x.name = ".bowline-" + rand.Text() + ".part"
	}
	x.name = path.Join(path.Dir(full), x.name)
	if o.Resume {
		if fi, err := t.p.client.Lstat(x.name); err == nil {
			return x, x.reopen(fi, o)
		}
	}
	if x.f, err = t.p.client.OpenFile(x.name, os.O_RDWR|os.O_CREATE|os.O_EXCL); err != nil {
		return nil, err
	}
	if err := x.f.Chmod(0o600); err != nil {
		return nil, errors.Join(err, x.Discard(false))
	}
	return x, nil
}

// tail is how much of the end of a broken-off file is not trusted: requests that
// were under way may have left holes in it.
const tail = 2 * requests * (32 << 10)

// reopen goes on with what an earlier transfer left: one chunk, as long as whole
// MiB surely arrived, if the target can compute its digest.
func (x *temp) reopen(fi fs.FileInfo, o transfer.TempOptions) error {
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%q is not ours", x.name)
	}
	f, err := x.t.p.client.OpenFile(x.name, os.O_RDWR)
	if err != nil {
		return err
	}
	x.f = f
	n := (min(fi.Size(), o.Size) - tail) >> 20 << 20
	if fi.Size() == o.Size {
		n = o.Size
	}
	if n <= 0 || !o.Basis {
		return nil
	}
	sum, _, err := x.t.p.digest(x.name, n)
	if err != nil {
		return nil // nothing can be reused, then
	}
	x.chunks = []transfer.Chunk{{N: n, SHA256: sum[:]}}
	return nil
}

func (x *temp) Basis() transfer.Basis { return transfer.Basis{Chunks: x.chunks} }

// Write hands on to a goroutine that keeps many requests under way.
func (x *temp) Write(p []byte) (int, error) {
	if x.pw == nil {
		if _, err := x.f.Seek(x.off, io.SeekStart); err != nil {
			return 0, err
		}
		pr, pw := io.Pipe()
		x.pw, x.done = pw, make(chan error, 1)
		go func() {
			_, err := x.f.ReadFromWithConcurrency(pr, requests)
			_ = pr.CloseWithError(err) // never fails
			x.done <- err
		}()
	}
	n, err := x.pw.Write(p)
	x.off += int64(n)
	return n, err
}

// settle waits until everything written has arrived.
func (x *temp) settle() error {
	if x.pw == nil {
		return nil
	}
	_ = x.pw.Close() // never fails
	x.pw = nil
	return <-x.done
}

func (x *temp) Zero(n int64) error {
	if err := x.settle(); err != nil {
		return err
	}
	fi, err := x.f.Stat()
	if err != nil {
		return err
	}
	if x.off+n <= fi.Size() || x.off < fi.Size() { // a resumed file may hold something there
		if err := x.f.Truncate(x.off); err != nil {
			return err
		}
	}
	x.off += n
	return nil
}

func (x *temp) Keep(off, n int64) error {
	if off != x.off {
		return errors.New("kept bytes at another place")
	}
	if err := x.settle(); err != nil {
		return err
	}
	x.off += n
	return nil
}

// KeepOld is never asked for: Basis tells of no older version.
func (x *temp) KeepOld(int64, int64) error { return errors.New("there is no older version") }

func (x *temp) Digest(context.Context) (sum [32]byte, by string, err error) {
	if err := x.settle(); err != nil {
		return sum, "", err
	}
	if err := x.f.Truncate(x.off); err != nil {
		return sum, "", err
	}
	if sum, by, err = x.t.p.digest(x.name, -1); err == nil {
		return sum, by, nil
	}
	return x.readBack()
}

// readBack hashes what the target says it holds.
func (x *temp) readBack() (sum [32]byte, by string, err error) {
	f, err := x.t.p.client.Open(x.name)
	if err != nil {
		return sum, "", fmt.Errorf("%w: %w", transfer.ErrNoDigest, err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := f.WriteTo(h)
	if errors.Is(err, fs.ErrPermission) {
		return sum, "", fmt.Errorf("%w: %w", transfer.ErrNoDigest, err)
	}
	if err == nil && n != x.off {
		err = fmt.Errorf("%d of %d bytes could be read back", n, x.off)
	}
	return [32]byte(h.Sum(nil)), "read-back", err
}

func (x *temp) Commit(m transfer.Meta) error {
	if m.UID < 0 && m.GID < 0 {
		x.keepOwner(&m)
	}
	if err := x.t.chown(x.name, m); err != nil {
		return err
	}
	if err := x.t.p.client.Chmod(x.name, fileMode(m.Mode)); err != nil {
		return err
	}
	if err := x.t.times(x.name, m); err != nil {
		return err
	}
	return x.finish()
}

// finish makes the content durable and gives up the handle: thousands of files wait
// to be put in place together, and a server has 1,024 handles or fewer. A server
// without fsync@openssh.com has no way to make anything durable.
func (x *temp) finish() error {
	var err error
	if _, can := x.t.p.client.HasExtension("fsync@openssh.com"); can {
		err = x.f.Sync()
	}
	err = errors.Join(err, x.f.Close())
	x.f = nil
	return err
}

// keepOwner lets what root replaces stay its owner's.
func (x *temp) keepOwner(m *transfer.Meta) {
	mine, err := x.f.Stat()
	if err != nil || infoOf(mine).UID != 0 {
		return
	}
	if fi, err := x.t.p.client.Lstat(x.full); err == nil && fi.Mode().IsRegular() {
		now := infoOf(fi)
		m.UID, m.GID = now.UID, now.GID
	}
}

func fileMode(m uint32) os.FileMode {
	out := os.FileMode(m & 0o777)
	for bit, mode := range map[uint32]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if m&bit != 0 {
			out |= mode
		}
	}
	return out
}

func (x *temp) Discard(keep bool) error {
	err := x.settle()
	var closed error
	if x.f != nil {
		closed = x.f.Close()
	}
	if keep {
		return closed // what failed to arrive is found by its digest
	}
	return errors.Join(err, closed, x.t.p.client.Remove(x.name))
}

// Flush is described at transfer.FS. Commit made the contents durable.
func (t *tree) Flush(list []transfer.Temp) []error {
	errs := make([]error, len(list))
	for i, l := range list {
		x, ok := l.(*temp)
		if !ok {
			panic("agentless: a Temp of another FS")
		}
		if errs[i] = t.p.client.PosixRename(x.name, x.full); errs[i] != nil {
			errs[i] = errors.Join(errs[i], t.p.client.Remove(x.name))
		}
	}
	return errs
}
