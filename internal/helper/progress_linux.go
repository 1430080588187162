package helper

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
)

// progressFile, in a session directory, holds the lines of the last process that
// acted on the session. The process locks it for its life, so whoever follows knows
// whether there is more to come.
const progressFile = "progress"

func openProgress(dir string, flags int) (*os.File, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.OpenFile(progressFile, flags, 0o600)
}

// claimProgress empties the file and locks it until it is closed, or fails with kind
// Conflict if another process has it.
func claimProgress(dir string) (*os.File, error) {
	f, err := openProgress(dir, os.O_RDWR|os.O_CREATE|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if errors.Is(err, unix.EAGAIN) {
		id := filepath.Base(dir)
		err = diag.New(diag.Conflict, "session "+id, "follow it with 'bowline session resume "+id+"'", "it is being applied or rolled back at this moment")
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// attach follows the process that is at work on the session, from its first line.
// running is false if there is none; nothing was said then.
func attach(ctx context.Context, r *frame.Request, dir string) (res any, running bool, err error) {
	f, err := openProgress(dir, os.O_RDONLY)
	if err != nil {
		return nil, false, nil // none ever was, or whoever acts next finds out why
	}
	defer f.Close()
	if ended(f) {
		return nil, false, nil
	}
	res, err = follow(ctx, r, &growing{ctx: ctx, f: f})
	return res, true, err
}

// ended reports whether the process that locked the file is gone. It takes no lock
// itself, which could be in the way of the next process (fcntl(2), F_OFD_GETLK).
func ended(f *os.File) bool {
	l := unix.Flock_t{Type: unix.F_RDLCK}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l)
	return err != nil || l.Type == unix.F_UNLCK
}

// growing reads a file to its end, and on as it grows, until the process that
// locked it has ended.
type growing struct {
	ctx   context.Context
	f     *os.File
	ended bool
}

// pollEvery is how long a follower waits before it looks again.
const pollEvery = 20 * time.Millisecond

func (g *growing) Read(p []byte) (int, error) {
	for {
		n, err := g.f.Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if g.ended {
			return 0, io.EOF
		}
		if g.ended = ended(g.f); g.ended {
			continue // what it wrote last
		}
		select {
		case <-g.ctx.Done():
			return 0, context.Cause(g.ctx)
		case <-time.After(pollEvery):
		}
	}
}
