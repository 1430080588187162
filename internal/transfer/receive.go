package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/bowline-sh/bowline/diag"
)

// ReceiveOptions are optional in every field but UID and GID, which are -1 for the
// owner that files get by themselves.
type ReceiveOptions struct {
	Mode     *uint32 // of files, instead of the source's
	UID, GID int
	Resume   bool
	// Accept says whether an entry is expected; nil accepts all that are valid.
	Accept   func(*Entry) error
	Done     func(Result)                   // told of every result
	Sent     func(index int, digest string) // told what the other half read, before the result
	Progress func(n int64)                  // bytes of content, as they are written
}

// Bounds of what waits to be synced together.
const (
	maxStaged      = 4096
	maxStagedOpen  = 128
	maxStagedBytes = 256 << 20
)

// Receive makes what the other half sends, below tree, until it says that there is
// nothing more. An error means that the transfer as a whole was broken off; what
// was not put in place by then has been removed, or with Resume kept. conn must be
// broken by the caller when ctx ends.
func Receive(ctx context.Context, tree FS, conn io.ReadWriter, o ReceiveOptions) error {
	r := &receiver{ctx: ctx, tree: tree, r: newRecordReader(conn), w: newRecordWriter(conn), o: o}
	err := r.all()
	if err != nil {
		r.abandon()
	}
	return err
}

type receiver struct {
	ctx  context.Context
	tree FS
	r    *recordReader
	w    *recordWriter
	o    ReceiveOptions

	now    *incoming // the file under way, or nil
	staged []staged
	bytes  int64 // of staged
}

// incoming is a file under way. After a failure temp is nil and the rest of the
// content is read and dropped.
type incoming struct {
	e      Entry
	temp   Temp
	size   int64
	reused int64
}

type staged struct {
	temp   Temp
	result Result
}

func (r *receiver) all() error {
	for {
		kind, payload, err := r.r.next()
		if err != nil {
			return fmt.Errorf("the other side ended early: %w", unexpected(err))
		}
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		if kind == recSync {
			break
		}
		if err := r.take(kind, payload); err != nil {
			return err
		}
	}
	if r.now != nil {
		return fmt.Errorf("%w: a file without an end", errProtocol)
	}
	if err := r.flush(); err != nil {
		return err
	}
	if err := r.w.put(recSync, nil); err != nil {
		return err
	}
	return r.w.flush()
}

func (r *receiver) take(kind byte, payload []byte) error {
	if (kind == recEntry) != (r.now == nil) {
		return fmt.Errorf("%w: record %q out of order", errProtocol, kind)
	}
	switch kind {
	case recEntry:
		var e Entry
		if err := docOf(payload, &e); err != nil {
			return err
		}
		return r.entry(e)
	case recData:
		return r.write(int64(len(payload)), func(t Temp) error { _, err := t.Write(payload); return err })
	case recZero:
		n, err := numbersOf(payload, 1)
		if err != nil {
			return err
		}
		return r.write(n[0], func(t Temp) error { return t.Zero(n[0]) })
	case recKeep:
		n, err := numbersOf(payload, 2)
		if err != nil {
			return err
		}
		r.now.reused += n[1]
		return r.write(n[1], func(t Temp) error { return t.Keep(n[0], n[1]) })
	case recOld:
		n, err := numbersOf(payload, 2)
		if err != nil {
			return err
		}
		r.now.reused += n[1]
		return r.write(n[1], func(t Temp) error { return t.KeepOld(n[0], n[1]) })
	case recEnd:
		return r.end(payload)
	}
	return fmt.Errorf("%w: record %q", errProtocol, kind)
}

// entry makes a directory or link, or begins a file.
func (r *receiver) entry(e Entry) error {
	err := e.valid()
	if err == nil && r.o.Accept != nil {
		err = r.o.Accept(&e)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	switch e.Type {
	case Dir:
		created, err := r.dir(&e)
		return r.tell(Result{Index: e.Index, Status: Made, Created: created}, err)
	case Symlink:
		err := r.replaceable(string(e.Path))
		if err == nil {
			err = r.tree.Link(string(e.Path), string(e.Link))
		}
		return r.tell(Result{Index: e.Index, Status: Made}, err)
	default:
		return r.begin(e)
	}
}

func (r *receiver) dir(e *Entry) (created bool, err error) {
	p := string(e.Path)
	if e.Final {
		return false, r.tree.SetDir(p, Meta{Mode: e.Mode, MTime: e.MTime, UID: r.o.UID, GID: r.o.GID})
	}
	if p == "." {
		return false, nil
	}
	info, err := r.tree.Lstat(p)
	if err == nil && info.Type == Dir {
		return false, nil
	}
	if err == nil {
		return false, fmt.Errorf("%q is in the way: it is no directory", p)
	}
	if err := r.tree.Mkdir(p); err != nil {
		return false, err
	}
	return true, nil
}

func (r *receiver) replaceable(p string) error {
	if info, err := r.tree.Lstat(p); err == nil && info.Type == Dir {
		return fmt.Errorf("%q is in the way: it is a directory", p)
	}
	return nil
}

func (r *receiver) begin(e Entry) error {
	r.now = &incoming{e: e}
	err := r.replaceable(string(e.Path))
	if err == nil {
		o := TempOptions{Size: e.Size, Basis: e.Ask}
		if r.o.Resume && e.Size >= 0 {
			o.Name, o.Resume = keptName(&e), true
		}
		r.now.temp, err = r.tree.Create(string(e.Path), o)
	}
	if err != nil {
		if err := r.fail(Failed, err); err != nil {
			return err
		}
	}
	if !e.Ask {
		return nil
	}
	var b Basis
	if r.now.temp != nil {
		b = r.now.temp.Basis()
	}
	if err := r.w.doc(recBasis, b); err != nil {
		return err
	}
	return r.w.flush()
}

// write adds to the file under way. What is wrong with the file ends it and tells
// the other half, which then stops sending; an error is that of the connection.
func (r *receiver) write(n int64, f func(Temp) error) error {
	c := r.now
	if c.temp == nil {
		return nil
	}
	if n < 0 || c.e.Size >= 0 && n > c.e.Size-c.size || c.size+n < 0 {
		return r.fail(Changed, errors.New(changedMark+": it grew"))
	}
	if err := f(c.temp); err != nil {
		return r.fail(Failed, err)
	}
	c.size += n
	if r.o.Progress != nil {
		r.o.Progress(n)
	}
	return nil
}

// fail ends the file under way with a result; its remaining records are dropped.
func (r *receiver) fail(s Status, why error) error {
	c := r.now
	if c.temp != nil {
		// What was written so far is good for the next try, but not what differs.
		why = errors.Join(why, c.temp.Discard(r.o.Resume && s == Failed))
		c.temp = nil
	}
	return r.report(Result{Index: c.e.Index, Status: s, Size: c.size, Error: why.Error(), Kind: string(diag.KindOf(why))})
}

func (r *receiver) end(payload []byte) error {
	if len(payload) < sha256.Size {
		return fmt.Errorf("%w: no digest", errProtocol)
	}
	defer func() { r.now = nil }()
	c := r.now
	want, why := payload[:sha256.Size], string(payload[sha256.Size:])
	if why == "" && r.o.Sent != nil {
		r.o.Sent(c.e.Index, hex.EncodeToString(want))
	}
	switch {
	case c.temp == nil: // told already
		return nil
	case why == changedMark:
		return r.fail(Changed, errors.New(why))
	case why != "":
		return r.fail(Failed, errors.New(why))
	case c.e.Size >= 0 && c.size != c.e.Size:
		return r.fail(Mismatched, fmt.Errorf("%d of %d bytes arrived", c.size, c.e.Size))
	}
	sum, by, err := c.temp.Digest(r.ctx)
	res := Result{Index: c.e.Index, Status: Verified, Size: c.size, Reused: c.reused, By: by, SHA256: hex.EncodeToString(sum[:])}
	switch {
	case errors.Is(err, ErrNoDigest):
		res.Status, res.SHA256, res.Error = Unverified, "", err.Error()
	case err != nil:
		return r.fail(Failed, err)
	case string(want) != string(sum[:]):
		return r.fail(Mismatched, fmt.Errorf("the SHA-256 of what was read is %x, of what arrived %x", want, sum))
	}
	if err := c.temp.Commit(r.meta(&c.e)); err != nil {
		return r.fail(Failed, err)
	}
	r.staged = append(r.staged, staged{c.temp, res})
	r.bytes += c.size
	limit := maxStaged
	if r.o.Resume { // they stay open
		limit = maxStagedOpen
	}
	if len(r.staged) >= limit || r.bytes >= maxStagedBytes {
		return r.flush()
	}
	return nil
}

func (r *receiver) meta(e *Entry) Meta {
	m := Meta{Mode: e.Mode & 0o777, MTime: e.MTime, UID: r.o.UID, GID: r.o.GID}
	if r.o.Mode != nil {
		m.Mode = *r.o.Mode
	}
	return m
}

// flush puts everything staged in place and tells of it.
func (r *receiver) flush() error {
	if len(r.staged) == 0 {
		return nil
	}
	list := r.staged
	r.staged, r.bytes = nil, 0
	temps := make([]Temp, len(list))
	for i, s := range list {
		temps[i] = s.temp
	}
	for i, err := range r.tree.Flush(temps) {
		if err := r.tell(list[i].result, err); err != nil {
			return err
		}
	}
	return nil
}

// tell reports res, or the failure that came instead.
func (r *receiver) tell(res Result, err error) error {
	if err != nil {
		res.Status, res.Error, res.Kind, res.SHA256 = Failed, err.Error(), string(diag.KindOf(err)), ""
	}
	return r.report(res)
}

func (r *receiver) report(res Result) error {
	if r.o.Done != nil {
		r.o.Done(res)
	}
	if err := r.w.doc(recDone, res); err != nil {
		return err
	}
	if !res.Status.OK() || len(r.staged) == 0 {
		return r.w.flush()
	}
	return nil
}

// abandon removes, or keeps, what is not in place.
func (r *receiver) abandon() {
	if r.now != nil && r.now.temp != nil {
		_ = r.now.temp.Discard(r.o.Resume) // the transfer's own error is the one to tell
	}
	for _, s := range r.staged {
		_ = s.temp.Discard(r.o.Resume)
	}
}
