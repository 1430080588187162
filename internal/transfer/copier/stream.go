package copier

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"

	"github.com/bowline-sh/bowline/internal/transfer"
)

// streamSide is standard input as the source of one file, or standard output as its
// destination. What goes to standard output has gone when the digests are compared:
// only the outcome tells.
type streamSide struct{ p *copying }

// streamName stands for the file that a stream is.
const streamName = "-"

func (s *streamSide) name() string { return "" }
func (s *streamSide) way() string  { return wayLocal }
func (s *streamSide) lanes() int   { return 1 }
func (s *streamSide) close() error { return nil }

func (s *streamSide) scan(_ context.Context, _ transfer.ScanRequest, to transfer.Scanner) error {
	return to.Found(transfer.Found{Entry: transfer.Entry{Path: []byte(streamName), Type: transfer.File, Mode: 0o644, Size: -1}, Root: []byte("/"), From: []byte(streamName)})
}

func (s *streamSide) find(context.Context, string, bool) (transfer.Destination, error) {
	return transfer.Destination{Dir: []byte("/"), Name: []byte(streamName)}, nil
}

func (s *streamSide) send(list []transfer.Found) half {
	return half{here: func(ctx context.Context, conn io.ReadWriter) error {
		open := func(string) (transfer.FS, error) { return streamFS{in: &patient{ctx: ctx, r: s.p.req.Stdin}}, nil }
		return transfer.Send(ctx, open, list, conn, s.p.sendOptions())
	}}
}

func (s *streamSide) receive(string) half {
	return half{here: func(ctx context.Context, conn io.ReadWriter) error {
		o := s.p.receiveOptions(-1, -1)
		o.Resume = false
		return transfer.Receive(ctx, streamFS{out: s.p.req.Stdout}, conn, o)
	}}
}

// patient reads in a goroutine, so that a stream from which nothing comes does not
// hold up what ends ctx. The goroutine then stays until the stream moves.
type patient struct {
	ctx  context.Context
	r    io.Reader
	next chan piece
}

type piece struct {
	b   []byte
	err error
}

func (p *patient) Read(b []byte) (int, error) {
	if p.next == nil {
		p.next = make(chan piece, 1)
	}
	go func(n int) {
		buf := make([]byte, n)
		n, err := p.r.Read(buf)
		p.next <- piece{buf[:n], err}
	}(len(b))
	select {
	case x := <-p.next:
		return copy(b, x.b), x.err
	case <-p.ctx.Done():
		return 0, context.Cause(p.ctx)
	}
}

// streamFS is a tree of the one file that a stream is.
type streamFS struct {
	in  io.Reader
	out io.Writer
}

var errStream = errors.New("a stream holds one file and nothing else")

func (streamFS) Lstat(string) (transfer.Info, error)     { return transfer.Info{}, fs.ErrNotExist }
func (streamFS) Names(string) ([]string, error)          { return nil, errStream }
func (streamFS) Readlink(string) (string, error)         { return "", errStream }
func (streamFS) Mkdir(string) error                      { return errStream }
func (streamFS) Link(string, string) error               { return errStream }
func (streamFS) SetDir(string, transfer.Meta) error      { return errStream }
func (streamFS) Close() error                            { return nil }
func (streamFS) Flush(list []transfer.Temp) []error      { return make([]error, len(list)) }
func (s streamFS) Open(string) (transfer.Content, error) { return streamIn{s.in}, nil }

func (s streamFS) Create(string, transfer.TempOptions) (transfer.Temp, error) {
	return &streamOut{w: s.out, h: sha256.New()}, nil
}

type streamIn struct{ io.Reader }

func (streamIn) Hole() int64                             { return 0 }
func (streamIn) ReadAgain(_, _ int64) (io.Reader, error) { return nil, errStream }
func (streamIn) GoTo(int64) error                        { return errStream }
func (streamIn) Info() (transfer.Info, error)            { return transfer.Info{Type: transfer.File}, nil }
func (streamIn) Close() error                            { return nil }

type streamOut struct {
	w io.Writer
	h hash.Hash
}

func (s *streamOut) Basis() transfer.Basis { return transfer.Basis{} }

func (s *streamOut) Write(p []byte) (int, error) {
	s.h.Write(p)
	return s.w.Write(p)
}

func (s *streamOut) Zero(n int64) error {
	zeros := make([]byte, 64<<10)
	for n > 0 {
		c := min(n, int64(len(zeros)))
		if _, err := s.Write(zeros[:c]); err != nil {
			return err
		}
		n -= c
	}
	return nil
}

func (s *streamOut) Keep(int64, int64) error    { return errStream }
func (s *streamOut) KeepOld(int64, int64) error { return errStream }

func (s *streamOut) Digest(context.Context) ([32]byte, string, error) {
	return [32]byte(s.h.Sum(nil)), "stream", nil
}

func (s *streamOut) Commit(transfer.Meta) error { return nil }
func (s *streamOut) Discard(bool) error         { return nil }
