package audit

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/bowline-sh/bowline/diag"
)

// Reasons to refuse a log.
var (
	errNotRegular = errors.New("not a regular file")
	errNotDir     = errors.New("not a directory, or a symbolic link to one")
	errOwner      = errors.New("belongs to another user")
	errWritable   = errors.New("can be written by other users")

	// ErrTampered is wrapped by the refusal to append to a log that does not
	// agree with its head.
	ErrTampered = errors.New("audit log and its head do not agree")

	// ErrClosed is wrapped by errors of a Log after Close.
	ErrClosed = errors.New("audit log is closed")
)

// denied turns a failure to record into the error that keeps the caller from
// acting. A canceled context stays what it is.
func (l *Log) denied(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return diag.New(diag.Canceled, "record in the audit log", "", "%w", err)
	}
	return &diag.Error{Kind: diag.Denied, Op: "record in the audit log", Hint: hint(l.cfg.Dir, err), Err: err}
}

// hint returns the command to type for what went wrong with the directory.
func hint(dir string, err error) string {
	q := quote(dir)
	var path *fs.PathError
	at := q
	if errors.As(err, &path) {
		at = quote(path.Path)
	}
	switch {
	case errors.Is(err, ErrTampered):
		return "see what is wrong: bowline audit verify\nthen keep the log as evidence and begin a new one: mv " + q + " " + quote(dir+".kept")
	case errors.Is(err, errWritable):
		return "chmod go-w " + at
	case errors.Is(err, errOwner):
		return "see whose it is: ls -ld " + at
	case errors.Is(err, errNotRegular), errors.Is(err, errNotDir):
		return "see what it is and move it away: ls -ld " + at
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room: df -h " + q
	case errors.Is(err, syscall.EROFS):
		return "mount it writable, or set [audit] dir: findmnt -T " + q
	case errors.Is(err, syscall.EFBIG):
		return "lift the limit on file sizes: ulimit -f unlimited"
	case errors.Is(err, fs.ErrPermission):
		return "make it writable for you: chmod u+rwx " + q
	case errors.Is(err, context.DeadlineExceeded):
		return "another process holds the log; see which: fuser " + quote(dir+"/"+lockName)
	}
	return "see the directory: ls -la " + q
}

// quote makes a path a word for a POSIX shell.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
