package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/pkg/sftp"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/authkeys"
	"github.com/bowline-sh/bowline/internal/transport"
)

// Names below the home of an account. sshd starts SFTP there.
const (
	sshDir   = ".ssh"
	keysFile = ".ssh/authorized_keys"
	lockFile = ".ssh/.authorized_keys.bowline-lock"
	tempName = ".authorized_keys.bowline-new-"
)

// staleLock is how long a lock must not change before it is taken for left behind. An
// edit takes some fifteen round trips.
const staleLock = 30 * time.Second

// maxEdits bounds how often an edit is made anew because another program changed the
// file meanwhile.
const maxEdits = 3

// editKeys changes the authorized_keys of the account at the far end of conn, and
// returns what was in it before. change may be called several times; what it returns
// unchanged is not written. With an error the file is as it was, unless the error is of
// kind Lost: then nobody knows.
func editKeys(ctx context.Context, conn transport.Conn, change func(data []byte) ([]byte, error)) ([]byte, error) {
	a, err := openAccount(ctx, conn)
	if err != nil {
		return nil, err
	}
	defer a.close()
	unlock, err := a.lock(ctx)
	if err != nil {
		return nil, a.failed(ctx, "lock ~/"+keysFile, err)
	}
	defer unlock()
	a.sweep()
	for range maxEdits {
		have, err := a.read()
		if err != nil {
			return nil, a.failed(ctx, "read ~/"+keysFile, err)
		}
		want, err := change(have.data)
		if err != nil || bytes.Equal(want, have.data) {
			return have.data, err
		}
		err = a.replace(have, want)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return have.data, a.failed(ctx, "write ~/"+keysFile, err)
		}
		return have.data, nil
	}
	return nil, diag.New(diag.Conflict, "write ~/"+keysFile, "", "another program keeps changing it; it was not touched")
}

// readKeys returns the file. There may be none: then it is empty.
func readKeys(ctx context.Context, conn transport.Conn) ([]byte, error) {
	return editKeys(ctx, conn, func(data []byte) ([]byte, error) { return data, nil })
}

// errMoved means that the file changed between looking and replacing.
var errMoved = errors.New("changed meanwhile")

// account is the home of a login over SFTP.
type account struct {
	sftp  *sftp.Client
	proc  transport.Process
	stop  func() bool
	stale time.Duration
}

func openAccount(ctx context.Context, conn transport.Conn) (*account, error) {
	const op = "open ~/" + sshDir
	sub, ok := conn.(transport.Subsystems)
	if !ok {
		return nil, diag.New(diag.Usage, op, "", "the target is not reached over SSH")
	}
	proc, err := sub.Subsystem(ctx, "sftp")
	if err != nil {
		return nil, diag.New(diag.Sandbox, op, "enable 'Subsystem sftp internal-sftp' in sshd_config on the target", "%w", err)
	}
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	stop := context.AfterFunc(ctx, func() { _ = proc.Close() })
	c, err := sftp.NewClientPipe(proc.Stdout(), proc.Stdin())
	if err != nil {
		stop()
		return nil, errors.Join(diag.New(diag.Sandbox, op, "", "the target does not talk SFTP: %w", err), proc.Close())
	}
	return &account{sftp: c, proc: proc, stop: stop, stale: staleLock}, nil
}

func (a *account) close() {
	a.stop()
	_ = a.sftp.Close() // the stream is closed next, whatever it says
	_ = a.proc.Close()
}

// failed says why a step did not work: SFTP itself only knows that its stream ended.
func (a *account) failed(ctx context.Context, op string, err error) error {
	if d, ok := errors.AsType[*diag.Error](err); ok {
		return d
	}
	if ctx.Err() != nil {
		return diag.New(diag.Canceled, op, "", "stopped: %w", context.Cause(ctx))
	}
	if errors.Is(err, sftp.ErrSSHFxConnectionLost) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, transport.ErrLost) {
		return diag.New(diag.Lost, op, "", "the link dropped: %w", errors.Join(err, transport.ErrLost))
	}
	return diag.New(diag.Failure, op, "", "%w", err)
}

// lock keeps other clients of ours out. A lock that stays as it is for long was left
// by one that was killed.
func (a *account) lock(ctx context.Context) (unlock func(), err error) {
	if err := a.checkDir(); err != nil {
		return nil, err
	}
	token := []byte(rand.Text())
	seen, since := "", time.Time{}
	for {
		f, err := a.sftp.OpenFile(lockFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err == nil {
			_, err = f.Write(token)
			if err = errors.Join(err, f.Close()); err != nil {
				return nil, errors.Join(err, a.sftp.Remove(lockFile))
			}
			return func() {
				if held, err := a.small(lockFile); err == nil && bytes.Equal(held, token) {
					_ = a.sftp.Remove(lockFile) // if not, the next one waits and takes it
				}
			}, nil
		}
		held, readErr := a.small(lockFile)
		switch {
		case errors.Is(readErr, fs.ErrNotExist) && seen == "gone":
			return nil, err // nobody holds it, and still we cannot have it
		case errors.Is(readErr, fs.ErrNotExist):
			seen = "gone"
			continue
		case readErr != nil:
			return nil, errors.Join(err, readErr)
		}
		if now := "held " + string(held); now != seen {
			seen, since = now, time.Now()
		} else if time.Since(since) > a.stale {
			_ = a.sftp.Remove(lockFile) // the next try tells
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// small reads the head of a file that is no link.
func (a *account) small(name string) ([]byte, error) {
	info, err := a.sftp.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("~/%s is not a regular file", name)
	}
	if err != nil {
		return nil, err
	}
	f, err := a.sftp.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, authkeys.MaxSize+1))
}

func refuse(format string, args ...any) error {
	return diag.New(diag.Refused, "look at ~/"+sshDir, "change it by hand on the target, or make it a file of the account", format, args...)
}

func (a *account) checkDir() error {
	dir, err := a.sftp.Lstat(sshDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse("the account has no ~/%s: its keys stand elsewhere (AuthorizedKeysFile or AuthorizedKeysCommand of sshd)", sshDir)
	case err != nil:
		return err
	case !dir.IsDir():
		return refuse("~/%s is a symbolic link or no directory; nothing was touched", sshDir)
	case dir.Mode().Perm()&0o022 != 0:
		return refuse("others than the account can write to ~/%s; nothing was touched", sshDir)
	}
	return nil
}

// sweep removes what killed clients left. The lock is held.
func (a *account) sweep() {
	list, err := a.sftp.ReadDir(sshDir)
	if err != nil {
		return // nothing depends on it
	}
	for _, f := range list {
		if strings.HasPrefix(f.Name(), tempName) {
			_ = a.sftp.Remove(sshDir + "/" + f.Name())
		}
	}
}

// snapshot is the file as it was read.
type snapshot struct {
	data []byte
	info *sftp.FileStat // nil if there is none
}

func (a *account) read() (snapshot, error) {
	info, err := a.sftp.Lstat(keysFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return snapshot{}, nil
	case err != nil:
		return snapshot{}, err
	case !info.Mode().IsRegular():
		return snapshot{}, refuse("~/%s is a symbolic link or no regular file; nothing was touched", keysFile)
	case info.Size() > authkeys.MaxSize:
		return snapshot{}, refuse("~/%s has %d bytes, more than the %d that are read", keysFile, info.Size(), authkeys.MaxSize)
	}
	data, err := a.small(keysFile)
	if err == nil && len(data) > authkeys.MaxSize {
		err = refuse("~/%s grew beyond %d bytes", keysFile, authkeys.MaxSize)
	}
	stat, ok := info.Sys().(*sftp.FileStat)
	if err == nil && !ok {
		err = errors.New("the target tells no owner of the file")
	}
	return snapshot{data, stat}, err
}

// replace puts want in place of have: temporary, sync, read back, rename.
func (a *account) replace(have snapshot, want []byte) error {
	name := sshDir + "/" + tempName + rand.Text()
	if err := a.writeTemp(name, have, want); err != nil {
		_ = a.sftp.Remove(name) // what it says is no news
		return err
	}
	now, err := a.read()
	if err == nil && (!bytes.Equal(now.data, have.data) || (now.info == nil) != (have.info == nil)) {
		err = errMoved
	}
	if err == nil {
		err = a.sftp.PosixRename(name, keysFile)
	}
	if err != nil {
		_ = a.sftp.Remove(name)
		return err
	}
	if now, err = a.read(); err == nil && !bytes.Equal(now.data, want) {
		err = errors.New("it does not hold what was written; another program changed it at the same moment")
	}
	return err
}

func (a *account) writeTemp(name string, have snapshot, want []byte) error {
	f, err := a.sftp.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	err = errors.Join(f.Chmod(0o600), a.fill(f, have, want))
	return errors.Join(err, f.Close())
}

func (a *account) fill(f *sftp.File, have snapshot, want []byte) error {
	if _, err := f.Write(want); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	back, err := io.ReadAll(io.LimitReader(f, int64(len(want))+1))
	if err == nil && !bytes.Equal(back, want) {
		err = errors.New("what was written does not read back")
	}
	if err != nil {
		return err
	}
	if have.info != nil {
		if err := a.likeBefore(f, have.info); err != nil {
			return err
		}
	}
	if _, ok := a.sftp.HasExtension("fsync@openssh.com"); ok {
		return f.Sync()
	}
	return nil
}

// likeBefore gives the new file owner and mode of the old one.
func (a *account) likeBefore(f *sftp.File, old *sftp.FileStat) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mine, ok := info.Sys().(*sftp.FileStat)
	if !ok {
		return errors.New("the target tells no owner of files")
	}
	if mine.UID != old.UID || mine.GID != old.GID {
		if err := f.Chown(int(old.UID), int(old.GID)); err != nil {
			return refuse("~/%s belongs to user %d and group %d, which the login cannot give to a new file; nothing was touched", keysFile, old.UID, old.GID)
		}
	}
	return f.Chmod(fs.FileMode(old.Mode & 0o777))
}
