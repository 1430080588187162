package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/target"
)

const (
	// firstDelay and longestDelay bound the wait between attempts: sshd drops
	// connections under MaxStartups for as long as others log in, which is a
	// second or two each.
	firstDelay   = 250 * time.Millisecond
	longestDelay = 4 * time.Second

	// dropTries is how often a login is tried that the server drops before it
	// began, whatever Config.Attempts says: nothing was asked of anybody, and
	// each time fewer are on their way. The waits between them sum up to 3 s.
	dropTries = 6
)

// Dial connects to t and logs in. Errors are of type [*diag.Error]: Usage for
// a target or configuration that makes no sense, Unreachable, Untrusted,
// Denied, or Canceled. In each case nothing ran on the target and nothing was
// written anywhere.
//
// ctx bounds the dial only, not the connection.
func (d *Dialer) Dial(ctx context.Context, t target.Target) (*Conn, error) {
	return d.dial(ctx, t, func(*route) {})
}

// DialWithKey is Dial, but offers t the key in its key_file and nothing else: no other
// key of the agent or of ssh_config, no certificate, no password. So whoever is logged
// in then got in by that key. Jump hosts on the way are logged in to as always.
func (d *Dialer) DialWithKey(ctx context.Context, t target.Target) (*Conn, error) {
	if t.KeyFile == "" {
		return nil, diag.New(diag.Usage, "connect to "+t.Name, "", "no key file is named")
	}
	return d.dial(ctx, t, func(r *route) {
		r.creds = &credentials{explicit: r.creds.explicit}
		r.end.identitiesOnly, r.end.password = true, false
	})
}

func (d *Dialer) dial(ctx context.Context, t target.Target, change func(*route)) (*Conn, error) {
	var conn *Conn
	err := d.attempt(ctx, t, false, func(ctx context.Context, r *route) error {
		change(r)
		started := d.cfg.Now()
		c, err := d.connect(ctx, nil, r)
		if err != nil {
			return err
		}
		c.info.DialTime = d.cfg.Now().Sub(started)
		conn = c
		return nil
	})
	return conn, err
}

// attempt runs f, which may be tried again, under the deadline of a dial.
// anonymous means that f does not log in.
func (d *Dialer) attempt(ctx context.Context, t target.Target, anonymous bool, f func(context.Context, *route) error) error {
	op := "connect to " + t.Name
	if err := validate(t); err != nil {
		return diag.New(diag.Usage, op, "", "%w", err)
	}
	clock := startClock(ctx, d.cfg.Timeout, d.cfg.Now)
	defer clock.stop()
	r, err := router{d, clock, anonymous}.route(clock.ctx, t, 0, false)
	if err != nil {
		if over := ended(clock.ctx, d.cfg.Timeout, phaseConfig); over != nil {
			err = over
		}
		return withOp(op, kinded(err, diag.Usage))
	}
	op = fmt.Sprintf("connect to %s (%s)", r.end.name, r.end)
	if err := d.retry(clock.ctx, r, f); err != nil {
		return withOp(op, err)
	}
	return nil
}

// kinded gives err a kind unless it has one.
func kinded(err error, kind diag.Kind) error {
	if _, ok := errors.AsType[*diag.Error](err); ok {
		return err
	}
	return diag.New(kind, "", "", "%w", err)
}

// retry calls f until it succeeds, fails for good, or the attempts or the time
// are used up.
func (d *Dialer) retry(ctx context.Context, r *route, f func(context.Context, *route) error) error {
	var last error
	failed := tries{plain: d.cfg.Attempts, drops: dropTries}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = firstDelay, longestDelay
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = f(ctx, r)
		if last != nil && !failed.again(last) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(0), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, next time.Duration) {
			d.cfg.Logf("%s: %v; next attempt in %v", r.end.name, err, next.Round(time.Millisecond))
		}))
	if err == nil {
		return nil
	}
	// The time may have ended between two attempts: then tell of both.
	over := ended(ctx, d.cfg.Timeout, phaseConnect)
	if over == nil || !retryable(last) {
		return last
	}
	return diag.New(diag.KindOf(over), "", diag.HintOf(last), "%w; the last attempt: %w", over, last)
}

// passing marks a failure that may pass by itself.
type passing struct{ error }

func (p passing) Unwrap() error { return p.error }

func retryable(err error) bool {
	if _, ok := errors.AsType[drop](err); ok {
		return true
	}
	_, ok := errors.AsType[passing](err)
	return ok
}

// tries is how many are left.
type tries struct{ plain, drops int }

// again reports whether to try again after err, and counts it.
func (t *tries) again(err error) bool {
	if _, ok := errors.AsType[drop](err); ok {
		t.drops--
		return t.drops > 0
	}
	t.plain--
	return retryable(err) && t.plain > 0
}

// connect reaches and logs in to the end of r, over hop unless that is nil.
func (d *Dialer) connect(ctx context.Context, hop *Conn, r *route) (*Conn, error) {
	var c *Conn
	err := d.reach(ctx, hop, r, func(raw net.Conn) error {
		var err error
		c, err = d.logIn(ctx, r, raw)
		return err
	})
	return c, err
}

// reach logs in to the jump hosts of r, every host key checked like that of a
// target, waits for its turn at the end of r, and calls f with the stream of
// bytes that leads there, which f owns. It owns hop.
func (d *Dialer) reach(ctx context.Context, hop *Conn, r *route, f func(net.Conn) error) error {
	for _, next := range r.via {
		var err error
		if hop, err = d.connect(ctx, hop, next); err != nil {
			return withOp(fmt.Sprintf("jump host %s (%s)", next.end.name, next.end), err)
		}
	}
	err := d.pass(ctx, r, func() error {
		raw, err := d.carrier(ctx, hop, r)
		if err != nil {
			return err
		}
		return f(raw)
	})
	if err != nil && hop != nil {
		hop.Close()
	}
	return err
}

// carrier opens the stream of bytes to r: TCP, a channel of a jump host, or a
// proxy command. Closing it closes what lies below.
func (d *Dialer) carrier(ctx context.Context, hop *Conn, r *route) (net.Conn, error) {
	switch {
	case hop != nil:
		return d.throughHop(ctx, hop, r)
	case r.command != "":
		d.cfg.Logf("%s: ProxyCommand %q", r.end.name, r.command)
		conn, err := dialCommand(r.command)
		if err != nil {
			return nil, diag.New(diag.Unreachable, "", "", "%w", err)
		}
		return conn, nil
	}
	dialer := net.Dialer{Timeout: r.end.connectTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", r.end.address())
	if err != nil {
		return nil, d.connectError(ctx, r, err)
	}
	return conn, nil
}

// connectError is the error for an address that cannot be reached.
func (d *Dialer) connectError(ctx context.Context, r *route, err error) error {
	if over := ended(ctx, d.cfg.Timeout, phaseConnect); over != nil {
		return over
	}
	if err := outOfFiles(err); err != nil {
		return err
	}
	cause := netCause(err)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() && r.end.connectTimeout > 0 {
		cause = fmt.Errorf("no answer within %v (ConnectTimeout): %w", r.end.connectTimeout, cause)
	}
	if transient(err) {
		cause = passing{cause}
	}
	return diag.New(diag.Unreachable, "", "", "%w", cause)
}

// throughHop opens a channel from hop to the end of r. The channel owns hop,
// which is closed on failure.
func (d *Dialer) throughHop(ctx context.Context, hop *Conn, r *route) (net.Conn, error) {
	ch, err := hop.client.DialContext(ctx, "tcp", r.end.address())
	if err != nil {
		hop.Close()
		return nil, d.connectError(ctx, r, err)
	}
	return hopConn{ch, hop}, nil
}

// hopConn is a channel of a jump host that serves nothing else.
type hopConn struct {
	net.Conn
	hop *Conn
}

// Close closes the jump host's connection and the channel with it; to say
// farewell over a frozen connection could take for ever.
func (c hopConn) Close() error { return c.hop.Close() }

// logIn exchanges keys and authenticates over raw, which it owns.
func (d *Dialer) logIn(ctx context.Context, r *route, raw net.Conn) (*Conn, error) {
	l := d.newLogin(ctx, r)
	defer l.Close()
	var key HostKey
	at := phaseKeys
	config := d.clientConfig(r, func(offered ssh.PublicKey) error {
		key = r.policy.judge(offered)
		if err := key.refusal(r.end.trustCommand); err != nil {
			return err
		}
		at = phaseLogin
		return nil
	})
	config.AuthCallback = l.next

	heard := &greeting{Conn: raw}
	c, channels, requests, err := handshake(ctx, heard, r.end.address(), config)
	if err != nil {
		return nil, d.loginError(ctx, r, loginFailure{err, at, l, heard})
	}
	d.cfg.Logf("%s: logged in as %s", r.end.name, r.end.user)
	return newConn(ssh.NewClient(c, channels, requests), transport.Info{
		Address: r.end.address(), Login: r.end.user,
		HostKeyType: key.Type, Fingerprint: key.Fingerprint, KeyID: l.keyID,
		Server: string(c.ServerVersion()),
	}, d.cfg.KeepAlive), nil
}

// clientConfig is what every handshake starts from. check decides about the
// host key; its error ends the handshake.
func (d *Dialer) clientConfig(r *route, check func(ssh.PublicKey) error) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		Config:            ssh.Config{KeyExchanges: keyExchanges(), Ciphers: ciphers(), MACs: macs()},
		User:              r.end.user,
		ClientVersion:     "SSH-2.0-Bowline",
		HostKeyAlgorithms: r.policy.algorithms(),
		HostKeyCallback:   func(_ string, _ net.Addr, key ssh.PublicKey) error { return check(key) },
		BannerCallback: func(text string) error {
			d.cfg.Logf("%s: banner %q", r.end.name, clean(text))
			return nil
		},
	}
}

// handshake is ssh.NewClientConn that ends with ctx. It owns raw.
func handshake(ctx context.Context, raw net.Conn, address string, config *ssh.ClientConfig) (ssh.Conn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	// A deadline of raw would not do: channels of a jump host have none.
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		raw.Close()
	})
	c, channels, requests, err := ssh.NewClientConn(raw, address, config)
	if !stop() {
		<-closed
		if err == nil {
			c.Close()
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		raw.Close()
		return nil, nil, nil, err
	}
	return c, channels, requests, nil
}

// loginFailure is what is known about a handshake that failed.
type loginFailure struct {
	err error
	at  phase
	l   *login // nil if nobody meant to log in
	raw *greeting
}

// loginError finds out what a failed handshake means.
func (d *Dialer) loginError(ctx context.Context, r *route, f loginFailure) error {
	if e, ok := errors.AsType[*diag.Error](f.err); ok {
		return e // the host key
	}
	if over := ended(ctx, d.cfg.Timeout, f.at); over != nil {
		return over
	}
	if e, ok := errors.AsType[*ssh.AlgorithmNegotiationError](f.err); ok {
		return diag.New(diag.Unreachable, "",
			"the server is too old or restricted; on the target, update OpenSSH or type:\nssh-keygen -A",
			"no common algorithm for %s: the server offers %s", clean(e.What), clean(fmt.Sprint(e.RequestedAlgorithms)))
	}
	if f.at == phaseLogin && f.l != nil {
		return f.l.denied(f.err)
	}
	if refused := f.raw.refusal(f.err); refused != nil {
		return refused
	}
	cause := error(cleanError{f.err})
	if p, ok := f.raw.Conn.(interface{ complaint() error }); ok {
		if said := p.complaint(); said != nil {
			cause = fmt.Errorf("ProxyCommand: %w", said)
		}
	}
	if transient(f.err) {
		cause = passing{cause}
	}
	return diag.New(diag.Unreachable, "", "", "connection ended while %s: %w", cmp.Or(f.at, phaseKeys), cause)
}
