package box

import (
	"cmp"
	"context"
	"errors"
	"net"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/podman"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/target"
)

// Recorder is the audit log as this package needs it; see executor.Recorder.
type Recorder interface {
	Begin(ctx context.Context, in audit.Intent) (id string, err error)
	End(ctx context.Context, id string, out audit.Outcome) error
}

// Gate is the configured policy; see executor.Gate.
type Gate interface {
	Enter(ctx context.Context, r policy.Request) (leave func(), err error)
}

// Config is what Boxes are made of; every field is required but Frozen, Laptop and Notify.
type Config struct {
	Target   func(name string) (target.Target, error) // accepted targets only; does no I/O
	Links    *link.Pool                               // of connections that reach sockets
	Recorder Recorder
	Gate     Gate
	Laptop   Laptop
	Owner    string // who calls, "user@machine"
	// Notify hears, in one line, what a person should know before something is done: hostile
	// text; optional.
	Notify func(note string)
	// Frozen reports why nothing may begin on a target, or nil; optional.
	Frozen func(target string) error
}

// Boxes is the one gate to boxes: it accepts the target, records the intent, and lends
// the server behind a link. Methods may be called concurrently.
type Boxes struct{ cfg Config }

// New returns Boxes. It does no I/O.
func New(cfg Config) *Boxes {
	if cfg.Target == nil || cfg.Links == nil || cfg.Recorder == nil || cfg.Gate == nil {
		panic("box: Config is incomplete")
	}
	return &Boxes{cfg}
}

// Call is what is recorded of something done to boxes.
type Call struct {
	Target string
	Verb   string // "box.create", "box.exec", ...
	Box    string // name; "" for all
	Argv   []string
	Force  bool // boxes of other owners, too
}

// reads are the verbs that change nothing, which a freeze leaves alone.
var reads = map[string]bool{"box.list": true, "box.info": true, "box.logs": true, "box.orphans": true, "box.check": true}

// On lends f the boxes of a target. Nothing is done there before the intent is on
// record.
func (b *Boxes) On(ctx context.Context, c Call, f func(context.Context, *Server) error) error {
	t, err := b.Remote(c.Target)
	if err == nil && b.cfg.Frozen != nil && !reads[c.Verb] {
		err = b.cfg.Frozen(t.Name)
	}
	leave := func() {}
	if err == nil {
		leave, err = b.cfg.Gate.Enter(ctx, policy.Request{Do: policy.Box, Target: t.Name, Argv: c.Argv})
	}
	if err == nil {
		defer leave()
	}
	id, aerr := b.cfg.Recorder.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: c.Verb, Target: t.Name}, Argv: c.Argv, Text: c.Box})
	if aerr != nil {
		return errors.Join(err, cmp.Or(late(ctx, t, aerr), aerr))
	}
	var out audit.Outcome
	if err == nil {
		err = b.lend(ctx, t, c, &out, f)
	}
	out.Err = err
	return errors.Join(err, b.cfg.Recorder.End(context.WithoutCancel(ctx), id, out))
}

func (b *Boxes) lend(ctx context.Context, t target.Target, c Call, out *audit.Outcome, f func(context.Context, *Server) error) error {
	l, err := b.cfg.Links.Get(ctx, t)
	if err != nil {
		return cmp.Or(late(ctx, t, err), noLink(t, err))
	}
	defer l.Release()
	info := l.Info()
	out.Subject = audit.Subject{Address: info.Address, Login: info.Login, HostKey: info.Fingerprint, KeyID: info.KeyID}
	if host, _, err := net.SplitHostPort(info.Address); err == nil && loopback(host) && !t.AllowLoopback {
		return notRemote(t, "its address is "+info.Address+", which is this machine")
	}
	if host, _, err := net.SplitHostPort(info.Address); err == nil && t.Jump == "" {
		if err := b.cfg.Laptop.Entries.Readdress(ctx, "."+t.Name, host); err != nil {
			return err
		}
	}
	frozen := make(chan error, 1)
	if reads[c.Verb] {
		frozen <- nil
	} else {
		go func() { frozen <- frozenThere(ctx, l, t.Name) }()
	}
	p, err := podman.Open(ctx, l)
	if ferr := <-frozen; ferr != nil {
		if p != nil {
			_ = p.Close() // nothing was done with it
		}
		return cmp.Or(late(ctx, t, ferr), ferr)
	}
	if err != nil {
		return cmp.Or(late(ctx, t, err), noPodman(t, "", err))
	}
	s := NewServer(p.API(), Podman{p.Version, p.Socket, p.Rootless})
	s.on, s.claim = t.Name, b.claim(c, t.Name)
	err = f(ctx, s)
	if errors.Is(err, errNoImage) && diag.KindOf(err) == diag.Usage {
		err = diag.New(diag.Usage, "use boxes on "+t.Name, diag.HintOf(err), "%w (%s); %s", err, server(t, p.Socket), only)
	}
	if errors.Is(err, errAPI) {
		err = cmp.Or(late(ctx, t, err), noPodman(t, p.Socket, err))
	}
	return errors.Join(err, p.Close())
}

// remote refuses targets that are this machine, before anything is dialled.
func remote(t target.Target) error {
	switch {
	case t.Kind != target.SSH:
		return notRemote(t, "it is of type "+string(t.Kind))
	case !t.AllowLoopback && (loopback(t.Host) || t.Host == "localhost"):
		return notRemote(t, t.Host+" is this machine")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// Remote returns a target that may have boxes. It does no I/O.
func (b *Boxes) Remote(name string) (target.Target, error) {
	t, err := b.cfg.Target(name)
	if err == nil {
		err = remote(t)
	}
	return t, err
}

// Check returns what boxes find on a target, or why there can be none.
func (b *Boxes) Check(ctx context.Context, on string) (Podman, error) {
	var of Podman
	err := b.On(ctx, Call{Target: on, Verb: "box.check"}, func(ctx context.Context, s *Server) error {
		of = s.of
		_, err := modeFor(of.Version, of.Rootless)
		return err
	})
	return of, err
}
