package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// SendOptions are optional in every field.
type SendOptions struct {
	Basis    bool                           // ask what the other side has of large files
	Resume   bool                           // ask for smaller ones too
	Done     func(Result)                   // told of every result, not concurrently
	Sent     func(index int, digest string) // told what was read, before the result can come
	Progress func(n int64)                  // bytes of content, as they are read
}

// Opener gives the tree at the source that found names.
type Opener func(root string) (FS, error)

// Send sends list over conn, and returns when the other half has answered
// everything. An error means that the transfer as a whole was broken off: of
// entries without a result nothing is known. conn must be broken by the caller when
// ctx ends.
func Send(ctx context.Context, open Opener, list []Found, conn io.ReadWriter, o SendOptions) error {
	s := &sender{ctx: ctx, open: open, w: newRecordWriter(conn), o: o, basis: make(chan Basis, 1), failed: map[int]bool{}, trees: map[string]FS{}}
	answers := make(chan error, 1)
	go func() { answers <- s.listen(newRecordReader(conn)) }()
	err := s.all(list)
	if err == nil {
		err = s.w.put(recSync, nil)
	}
	if err == nil {
		err = s.w.flush()
	}
	if err != nil {
		// The reading goroutine ends with conn, which the caller breaks.
		return errors.Join(err, s.close())
	}
	return errors.Join(<-answers, s.close())
}

type sender struct {
	ctx   context.Context
	open  Opener
	w     *recordWriter
	o     SendOptions
	trees map[string]FS
	basis chan Basis // closed when no more comes
	buf   [64 << 10]byte

	mu     sync.Mutex // guards failed
	failed map[int]bool
}

func (s *sender) close() error {
	var errs []error
	for _, t := range s.trees {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}

// listen reads the answers of the other half until its last.
func (s *sender) listen(r *recordReader) error {
	defer close(s.basis)
	for {
		kind, payload, err := r.next()
		if err != nil {
			return fmt.Errorf("the other side ended early: %w", unexpected(err))
		}
		switch kind {
		case recBasis:
			var b Basis
			if err := docOf(payload, &b); err != nil {
				return err
			}
			select {
			case s.basis <- b:
			default:
				return fmt.Errorf("%w: a basis nobody asked for", errProtocol)
			}
		case recDone:
			var res Result
			if err := docOf(payload, &res); err != nil {
				return err
			}
			if !res.Status.OK() {
				s.mu.Lock()
				s.failed[res.Index] = true
				s.mu.Unlock()
			}
			if s.o.Done != nil {
				s.o.Done(res)
			}
		case recSync:
			return nil
		default:
			return fmt.Errorf("%w: record %q", errProtocol, kind)
		}
	}
}

func (s *sender) gaveUp(index int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed[index]
}

func (s *sender) all(list []Found) error {
	for i := range list {
		if err := s.ctx.Err(); err != nil {
			return context.Cause(s.ctx)
		}
		if err := s.one(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// one sends one entry. Its error is that of the connection; what is wrong with the
// file goes to the other half.
func (s *sender) one(f *Found) error {
	e := f.Entry
	if e.Type != File {
		return s.w.doc(recEntry, e)
	}
	c, info, err := s.openFile(f)
	if err != nil {
		e.Size = 0
		if err := s.w.doc(recEntry, e); err != nil {
			return err
		}
		return s.finish(nil, err.Error())
	}
	defer c.Close()
	if e.Size >= 0 {
		e.Size, e.MTime, e.Mode, e.ID = info.Size, info.MTime, info.Mode, info.ID
	}
	_, far := c.(FarContent) // it would travel to be compared
	e.Ask = s.o.Basis && e.Size >= basisFrom && !far || s.o.Resume && e.Size >= Block
	if err := s.w.doc(recEntry, e); err != nil {
		return err
	}
	var basis Basis
	if e.Ask {
		if basis, err = s.wait(); err != nil {
			return err
		}
	}
	return s.content(&e, c, info, basis)
}

func (s *sender) openFile(f *Found) (Content, Info, error) {
	tree, err := s.tree(string(f.Root))
	if err != nil {
		return nil, Info{}, err
	}
	c, err := tree.Open(string(f.From))
	if err != nil {
		return nil, Info{}, err
	}
	info, err := c.Info()
	if err != nil {
		return nil, Info{}, errors.Join(err, c.Close())
	}
	return c, info, nil
}

func (s *sender) tree(root string) (FS, error) {
	if t, ok := s.trees[root]; ok {
		return t, nil
	}
	t, err := s.open(root)
	if err == nil {
		s.trees[root] = t
	}
	return t, err
}

// wait flushes and waits for the basis of the entry just sent.
func (s *sender) wait() (Basis, error) {
	if err := s.w.flush(); err != nil {
		return Basis{}, err
	}
	select {
	case b, ok := <-s.basis:
		if !ok {
			return Basis{}, fmt.Errorf("the other side ended early: %w", io.ErrUnexpectedEOF)
		}
		return b, nil
	case <-s.ctx.Done():
		return Basis{}, context.Cause(s.ctx)
	}
}

// finish ends a file. sum is nil for one that could not be read.
func (s *sender) finish(sum []byte, why string) error {
	if sum == nil {
		sum = make([]byte, sha256.Size)
	}
	return s.w.put(recEnd, append(sum, why...))
}

// content sends what the other half lacks and hashes the whole.
func (s *sender) content(e *Entry, c Content, before Info, basis Basis) error {
	r := &reading{s: s, e: e, c: c, h: sha256.New()}
	err := r.all(basis, before.Sparse)
	if bad, ok := errors.AsType[*readError](err); ok {
		return s.finish(nil, bad.Error())
	}
	if err != nil {
		return err
	}
	if why := changedSince(before, c, r.off, e.Size); why != "" {
		return s.finish(nil, why)
	}
	sum, err := r.digest()
	if err != nil {
		return s.finish(nil, err.Error())
	}
	if s.o.Sent != nil {
		s.o.Sent(e.Index, hex.EncodeToString(sum))
	}
	return s.finish(sum, "")
}

// digest returns the SHA-256 of the whole.
func (r *reading) digest() ([]byte, error) {
	if r.far != nil {
		return r.far.Sum()
	}
	return r.h.Sum(nil), nil
}

// all sends the content, but what the other half has.
func (r *reading) all(basis Basis, sparse bool) error {
	if far, ok := r.c.(FarContent); ok {
		if err := r.reuseFar(far, basis.Chunks); err != nil {
			return err
		}
		return r.rest(sparse)
	}
	if err := r.reuse(basis.Chunks, sparse); err != nil {
		return err
	}
	if len(basis.Old) > 0 && r.off < r.e.Size {
		return r.delta(basis.Old, sparse)
	}
	return r.rest(sparse)
}

// reuseFar leaves out the chunks from the beginning on whose digests, as the far
// side computes them, are those of the other half's.
func (r *reading) reuseFar(far FarContent, chunks []Chunk) error {
	if len(chunks) == 0 || r.e.Size < 0 {
		return nil
	}
	sums, err := far.Sums(chunks)
	if err != nil {
		return nil // everything is sent, then
	}
	for i, sum := range sums {
		if ch := chunks[i]; ch.N <= 0 || r.off+ch.N > r.e.Size || string(sum) != string(ch.SHA256) {
			break
		}
		if err := r.s.w.numbers(recKeep, r.off, chunks[i].N); err != nil {
			return err
		}
		r.advance(chunks[i].N)
		r.far = far
	}
	if r.far == nil {
		return nil
	}
	if err := r.c.GoTo(r.off); err != nil {
		return &readError{err}
	}
	return nil
}

// changedMark begins the reason of a file that changed while it was read.
const changedMark = "it changed while it was read"

func changedSince(before Info, c Content, read, size int64) string {
	if size < 0 {
		return ""
	}
	after, err := c.Info()
	switch {
	case err != nil:
		return err.Error()
	case read != size || after.ID != before.ID || after.Size != before.Size || after.MTime != before.MTime:
		return changedMark
	}
	return ""
}

// readError is trouble with the file, not with the connection.
type readError struct{ error }

type reading struct {
	s   *sender
	e   *Entry
	c   Content
	h   hash.Hash
	off int64
	far FarContent // not nil once something was left out: h is not of the whole
}

// reuse compares what the other half has, chunk by chunk, and sends only what
// differs. Such chunks are read twice rather than kept: they may be large.
func (r *reading) reuse(chunks []Chunk, sparse bool) error {
	if len(chunks) == 0 {
		return nil
	}
	for _, ch := range chunks {
		if r.e.Size < 0 || ch.N <= 0 || r.off+ch.N > r.e.Size {
			break
		}
		sum, err := r.hashNext(ch.N)
		if err != nil {
			return &readError{err}
		}
		if string(sum) != string(ch.SHA256) {
			if err := r.again(stretch{r.off, ch.N}, sparse); err != nil {
				return err
			}
			continue
		}
		if err := r.s.w.numbers(recKeep, r.off, ch.N); err != nil {
			return err
		}
		r.advance(ch.N)
	}
	if err := r.c.GoTo(r.off); err != nil {
		return &readError{err}
	}
	return nil
}

// hashNext returns the digest of the next n bytes, and adds them to the one of the
// whole.
func (r *reading) hashNext(n int64) ([]byte, error) {
	in, err := r.c.ReadAgain(r.off, n)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	if m, err := io.Copy(h, io.TeeReader(in, r.h)); err != nil || m != n {
		return nil, errors.Join(err, shortRead(m, n))
	}
	return h.Sum(nil), nil
}

func shortRead(got, want int64) error {
	if got == want {
		return nil
	}
	return errors.New(changedMark)
}

func (r *reading) advance(n int64) {
	r.off += n
	if r.s.o.Progress != nil {
		r.s.o.Progress(n)
	}
}

// rest sends everything from here on, holes as holes.
func (r *reading) rest(sparse bool) error {
	if small := r.e.Size >= 0 && r.e.Size <= int64(len(r.s.buf)); !sparse && !small {
		p := newAhead(r.c, r.h)
		defer p.stop()
		return r.pump(p)
	}
	for buf := r.s.buf[:]; ; {
		if sparse {
			if n := min(r.c.Hole(), max(r.e.Size-r.off, 0)); n > 0 {
				if err := r.zero(n); err != nil {
					return err
				}
				continue
			}
		}
		n, err := io.ReadFull(r.c, buf)
		if n > 0 {
			if err := r.block(buf[:n], sparse); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return &readError{err}
		}
	}
}

// block sends one block, as a hole if the file has holes and this may be one.
func (r *reading) block(p []byte, sparse bool) error {
	if sparse && len(p) >= 4096 && allZero(p) {
		return r.zero(int64(len(p)))
	}
	r.h.Write(p)
	return r.emit(p)
}

func (r *reading) zero(n int64) error {
	hashZeros(r.h, n)
	if err := r.s.w.numbers(recZero, n); err != nil {
		return err
	}
	r.advance(n)
	return r.check()
}

// pump sends what p has read and hashed.
func (r *reading) pump(p *ahead) error {
	for b := range p.full {
		if b.n > 0 {
			if err := r.s.w.large(recData, b.buf[:headLen+b.n]); err != nil {
				return err
			}
			r.advance(int64(b.n))
			if err := r.check(); err != nil {
				return err
			}
		}
		if b.err != nil && !errors.Is(b.err, io.EOF) {
			return &readError{b.err}
		}
		p.free <- b.buf
	}
	return nil
}

func (r *reading) emit(p []byte) error {
	if err := r.s.w.put(recData, p); err != nil {
		return err
	}
	r.advance(int64(len(p)))
	return r.check()
}

// check stops reading a file that nobody wants any more.
func (r *reading) check() error {
	if r.s.ctx.Err() != nil {
		return context.Cause(r.s.ctx)
	}
	if r.s.gaveUp(r.e.Index) {
		return &readError{errors.New("given up")}
	}
	return nil
}
