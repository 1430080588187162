package transfer

import (
	"context"
	"errors"
	"io"
)

// Info is what a side knows of one path. Fields it does not know are zero.
type Info struct {
	Type   Type
	Mode   uint32
	Size   int64
	MTime  int64 // nanoseconds since 1970
	UID    int
	GID    int
	NLink  uint64
	Sparse bool   // it may have holes
	ID     string // changes whenever the content may have changed
}

// FS is a tree below one directory of one side. Paths are below it, clean, and
// "." is the directory itself. Nothing follows symbolic links. An FS belongs to
// one goroutine.
type FS interface {
	Lstat(p string) (Info, error)
	Names(p string) ([]string, error)
	Readlink(p string) (string, error)
	Open(p string) (Content, error) // a regular file

	Mkdir(p string) error
	Link(p, text string) error // puts a symbolic link in place of any non-directory
	SetDir(p string, m Meta) error
	Create(p string, o TempOptions) (Temp, error)
	// Flush makes temporaries durable and puts them in place, all whose Commit
	// was called. errs has an entry for each.
	Flush(temps []Temp) (errs []error)

	Close() error
}

// Content is an open file to be read from its beginning.
type Content interface {
	io.Reader
	// Hole returns how many bytes from here on are a hole, and skips them; 0 where
	// there are none or nobody knows.
	Hole() int64
	// ReadAgain returns the bytes in [off, off+n) once more.
	ReadAgain(off, n int64) (io.Reader, error)
	// GoTo sets where Read goes on.
	GoTo(off int64) error
	Info() (Info, error) // as it is now
	Close() error
}

// Meta is what a file or directory gets besides its content.
type Meta struct {
	Mode  uint32
	MTime int64
	UID   int // -1: as it comes
	GID   int
}

// TempOptions say how a temporary is made.
type TempOptions struct {
	Name   string // "" means a new one that nobody else has
	Size   int64  // of the whole; -1 if unknown
	Resume bool   // keep what is there under Name
	Basis  bool   // tell what is there, also of an older file in place
}

// Temp is the content of a file on its way, under a temporary name. It is written
// from its beginning to its end.
type Temp interface {
	// Basis tells what of the content may be there already.
	Basis() Basis
	Write(p []byte) (int, error)
	Zero(n int64) error
	// Keep takes n bytes, those at off of the basis' chunks, as the next ones.
	Keep(off, n int64) error
	// KeepOld takes those at off of the older version.
	KeepOld(off, n int64) error
	// Digest returns the SHA-256 of what was written, and what computed it.
	// [ErrNoDigest] means that nothing can.
	Digest(ctx context.Context) (sum [32]byte, by string, err error)
	// Commit sets metadata; Flush does the rest.
	Commit(m Meta) error
	// Discard ends it. With keep, what was written stays for later.
	Discard(keep bool) error
}

// FarContent is Content that travels to be read, while digests of it are computed
// where it is.
type FarContent interface {
	Content
	// Sums returns the SHA-256 of each chunk of list, beginning at 0, or fewer if the
	// rest cannot be had.
	Sums(list []Chunk) ([][]byte, error)
	// Sum returns the SHA-256 of the whole.
	Sum() ([]byte, error)
}

// ErrNoDigest means that what was written cannot be checked.
var ErrNoDigest = errors.New("no program on the target computes SHA-256, and what was written cannot be read back")

// ErrBusy means that another transfer of the same file is under way.
var ErrBusy = errors.New("another transfer of this file is under way")
