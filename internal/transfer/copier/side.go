package copier

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/transfer"
	"github.com/bowline-sh/bowline/target"
)

// Ways to a side.
const (
	wayLocal     = "local"
	wayHelper    = "helper"
	wayAgentless = "agentless"
)

// side is one end of a copy.
type side interface {
	name() string // of the target; "" for this machine
	way() string
	scan(ctx context.Context, req transfer.ScanRequest, to transfer.Scanner) error
	find(ctx context.Context, p string, one bool) (transfer.Destination, error)
	// send and receive return the half of a transfer that this side is.
	send(list []transfer.Found) half
	receive(dir string) half
	lanes() int // transfers at once that this side is good for
	close() error
}

// half is one half of a transfer: it runs here, on a stream that the other half
// has the other end of, or elsewhere, and then it gives the stream.
type half struct {
	here  func(ctx context.Context, conn io.ReadWriter) error
	there func(ctx context.Context) (*remote, error)
}

// side opens the side that l is on.
func (p *copying) side(ctx context.Context, l Location, source bool) (side, error) {
	if l.stream() {
		return &streamSide{p: p}, nil
	}
	if l.Target == "" {
		return &placeSide{p: p, place: transfer.Machine{Rules: transfer.Policy{Allow: p.req.Roots}}, label: "", kind: wayLocal}, nil
	}
	t, err := p.c.cfg.Target(l.Target)
	if err != nil {
		return nil, err
	}
	if t.Kind == target.Local {
		if f, ok := freeze.Read(); ok {
			return nil, freeze.Named(f.Here(), t.Name)
		}
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		return &placeSide{p: p, place: transfer.Machine{Home: home, Rules: p.rules}, label: t.Name, kind: wayLocal}, nil
	}
	return p.remoteSide(ctx, t, source)
}

func (p *copying) remoteSide(ctx context.Context, t target.Target, source bool) (side, error) {
	l, err := p.c.cfg.Links.Get(ctx, t)
	if err != nil {
		return nil, err
	}
	p.connected(l.Info())
	p.links = append(p.links, l)
	sudo := p.req.Owner != "" && !source && t.Become == "sudo"
	if !t.NoHelper && p.c.cfg.Helpers != nil {
		c, err := p.c.cfg.Helpers.Start(ctx, l, link.HelperOptions{Install: true, Sudo: sudo})
		if err == nil {
			return &helperSide{p: p, label: t.Name, link: l, client: c}, nil
		}
		if ctx.Err() != nil || sudo || diag.KindOf(err) != diag.Sandbox && diag.KindOf(err) != diag.Untrusted {
			l.Release()
			return nil, err
		}
		p.notice("going on without a helper: " + err.Error())
	}
	s, err := p.agentless(ctx, t, l)
	if err != nil {
		l.Release()
	}
	return s, err
}

// placeSide is a side whose halves run in this process.
type placeSide struct {
	p     *copying
	place transfer.Place
	label string
	kind  string
}

func (s *placeSide) name() string { return s.label }
func (s *placeSide) way() string  { return s.kind }
func (s *placeSide) lanes() int   { return 8 }
func (s *placeSide) close() error { return nil }

func (s *placeSide) scan(ctx context.Context, req transfer.ScanRequest, to transfer.Scanner) error {
	return transfer.Scan(ctx, s.place, req, to)
}

func (s *placeSide) find(_ context.Context, p string, one bool) (transfer.Destination, error) {
	return transfer.FindDestination(s.place, p, one)
}

func (s *placeSide) send(list []transfer.Found) half {
	return half{here: func(ctx context.Context, conn io.ReadWriter) error {
		return transfer.Send(ctx, s.place.Open, list, conn, s.p.sendOptions())
	}}
}

func (p *copying) sendOptions() transfer.SendOptions {
	return transfer.SendOptions{Basis: true, Resume: p.req.Resume, Done: p.done, Sent: p.read, Progress: p.progress}
}

func (s *placeSide) receive(dir string) half {
	return half{here: func(ctx context.Context, conn io.ReadWriter) error {
		uid, gid, err := transfer.FindOwner(s.p.req.Owner, os.ReadFile)
		if err != nil {
			return err
		}
		tree, err := s.place.Open(dir)
		if err != nil {
			return err
		}
		defer tree.Close()
		return transfer.Receive(ctx, tree, conn, s.p.receiveOptions(uid, gid))
	}}
}

// receiveOptions are those of a receiving half in this process.
func (p *copying) receiveOptions(uid, gid int) transfer.ReceiveOptions {
	o := transfer.ReceiveOptions{Mode: p.req.Mode, UID: uid, GID: gid, Resume: p.req.Resume, Accept: p.expected}
	if p.src.way() == wayHelper { // else the sending half is here and tells
		o.Done, o.Sent, o.Progress = p.done, p.read, p.progress
	}
	return o
}

// expected accepts entries of the list, and nothing else.
func (p *copying) expected(e *transfer.Entry) error {
	if e.Index >= len(p.list) {
		return errors.New("an entry that was not asked for")
	}
	f := &p.list[e.Index]
	if string(f.Path) != string(e.Path) || f.Type != e.Type {
		return errors.New("an entry that is not the one that was asked for")
	}
	return nil
}

// helperSide is a side whose halves run in a helper on the target.
type helperSide struct {
	p      *copying
	label  string
	link   *link.Link
	client *frame.Client
}

func (s *helperSide) name() string { return s.label }
func (s *helperSide) way() string  { return wayHelper }
func (s *helperSide) lanes() int   { return 4 }

func (s *helperSide) close() error {
	err := s.client.Close()
	s.link.Release()
	return err
}

func (s *helperSide) scan(ctx context.Context, req transfer.ScanRequest, to transfer.Scanner) error {
	r, err := s.call(ctx, helper.VerbScan, helper.ScanRequest{ScanRequest: req, Rules: s.p.rules})
	if err != nil {
		return err
	}
	readErr := transfer.ReadScan(r, to)
	return firstOf(r.end(ctx, readErr == nil), readErr)
}

func (s *helperSide) find(ctx context.Context, p string, one bool) (transfer.Destination, error) {
	var d transfer.Destination
	call, err := s.client.Open(helper.VerbFind, helper.FindRequest{Path: []byte(p), One: one, Rules: s.p.rules}, nil)
	if err != nil {
		return d, lost(err)
	}
	if err := call.Wait(ctx, &d); err != nil {
		return d, asLost(err)
	}
	return d, nil
}

func (s *helperSide) send(list []transfer.Found) half {
	return half{there: func(ctx context.Context) (*remote, error) {
		return s.call(ctx, helper.VerbSend, helper.SendRequest{List: list, Basis: true, Resume: s.p.req.Resume, Rules: s.p.rules})
	}}
}

func (s *helperSide) receive(dir string) half {
	return half{there: func(ctx context.Context) (*remote, error) {
		return s.call(ctx, helper.VerbReceive, helper.ReceiveRequest{Dir: []byte(dir), Mode: s.p.req.Mode, Owner: s.p.req.Owner, Resume: s.p.req.Resume, Rules: s.p.rules})
	}}
}

// remote is the stream to a half on a target.
type remote struct {
	io.Reader
	io.Writer
	call *frame.Call
}

func (s *helperSide) call(ctx context.Context, verb string, req any) (*remote, error) {
	call, err := s.client.Open(verb, req, nil)
	if err != nil {
		return nil, lost(err)
	}
	return &remote{Reader: call.Stdout, Writer: call.Stdin, call: call}, nil
}

// endTime is what the far side gets to clean up, after the link went or a person
// stopped it.
const endTime = 10 * time.Second

// end waits for the far half's end; without ok it is told to stop. Its error says
// what went wrong there.
func (r *remote) end(ctx context.Context, ok bool) error {
	if !ok {
		r.call.Cancel()
	}
	_ = r.call.Stdin.Close() // the far side reads to the end or has ended
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, r.Reader)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	err := r.call.Wait(ctx, nil)
	<-drained
	return asLost(err)
}

// asLost keeps the errors of a far side that spoke.
func asLost(err error) error {
	if err == nil || errors.As(err, new(*diag.Error)) {
		return err
	}
	return lost(err)
}

func lost(err error) error {
	return diag.New(diag.Lost, "copy", "run it again; with --resume it goes on where it was", "the link dropped: %w", err)
}

// firstOf prefers what the far side says to what the stream to it says, but not to
// our own reasons.
func firstOf(there, here error) error {
	if there == nil {
		return here
	}
	if here != nil && diag.KindOf(here) != diag.Failure {
		return here
	}
	return there
}
