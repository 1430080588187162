package durable

import (
	"context"
	"fmt"
	"os"
	"time"
)

// FileLock is an exclusive advisory lock, held from [Lock] until Unlock. The
// kernel releases it when the process ends, however that happens. It excludes
// other processes and other holders in this one; it does not exclude programs
// that do not ask. On NFS it holds between hosts from Linux 2.6.12 on
// (flock(2), NOTES).
type FileLock struct{ f *os.File }

// First and longest wait between two attempts to get a lock. Attempts cost a
// system call; the longest wait bounds how late a waiter notices.
const (
	firstWait   = 500 * time.Microsecond
	longestWait = 20 * time.Millisecond
)

// Lock waits until it holds the lock on the file at path, creating the file
// with 0600 if it is missing, or until ctx is done. The file's content is
// never touched, and it must not be removed: a lock on a removed file excludes
// nobody. A symbolic link at path is refused where the system can.
func Lock(ctx context.Context, path string) (*FileLock, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := waitLock(ctx, f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	return &FileLock{f}, nil
}

func waitLock(ctx context.Context, f *os.File) error {
	timer := time.NewTimer(firstWait)
	defer timer.Stop()
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		held, err := tryLock(f)
		if held || err != nil {
			return err
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// Unlock releases the lock. Call it once.
func (l *FileLock) Unlock() error { return l.f.Close() }
