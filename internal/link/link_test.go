package link

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeConn is a connection in memory that takes at most max processes at once.
type fakeConn struct {
	max  int
	done chan struct{}

	mu     sync.Mutex // guards the fields below
	closed bool
	live   int
	most   int // largest live
	starts int // calls of Start, refused ones too
}

func newFake(max int) *fakeConn { return &fakeConn{max: max, done: make(chan struct{})} }

func (c *fakeConn) Start(context.Context, string) (transport.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starts++
	if c.closed {
		return nil, transport.ErrLost
	}
	if c.live >= c.max {
		return nil, transport.ErrBusy
	}
	c.live++
	c.most = max(c.most, c.live)
	return &fakeProcess{conn: c}, nil
}

func (c *fakeConn) Info() transport.Info  { return transport.Info{Address: "fake"} }
func (c *fakeConn) Done() <-chan struct{} { return c.done }

func (c *fakeConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.done)
	}
	return nil
}

func (c *fakeConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

type fakeProcess struct {
	transport.Process
	conn *fakeConn
	once sync.Once
}

func (p *fakeProcess) Stdin() io.WriteCloser { return nil }
func (p *fakeProcess) Close() error {
	p.once.Do(func() {
		p.conn.mu.Lock()
		p.conn.live--
		p.conn.mu.Unlock()
	})
	return nil
}

// dialer hands out conns in order and counts.
type dialer struct {
	mu    sync.Mutex
	conns []*fakeConn
	errs  []error
	gate  chan struct{} // a dial waits for it, unless it is nil
	dials atomic.Int32
}

func (d *dialer) dial(context.Context, target.Target) (transport.Conn, error) {
	d.dials.Add(1)
	if d.gate != nil {
		<-d.gate
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.errs) > 0 {
		err := d.errs[0]
		d.errs = d.errs[1:]
		return nil, err
	}
	c := newFake(10)
	d.conns = append(d.conns, c)
	return c, nil
}

func web(name string) target.Target {
	return target.Target{Name: name, Kind: target.SSH, Host: "host-" + name}
}

func mustGet(t *testing.T, p *Pool, tg target.Target) *Link {
	t.Helper()
	l, err := p.Get(t.Context(), tg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestGetSharesOneDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{gate: make(chan struct{})}
		p := NewPool(d.dial, nil)
		var wg sync.WaitGroup
		links := make([]*Link, 50)
		for i := range links {
			wg.Go(func() { links[i] = mustGet(t, p, web("a")) })
		}
		synctest.Wait() // all of them wait for the one dial
		close(d.gate)
		wg.Wait()
		for _, l := range links {
			if l != links[0] {
				t.Error("two links to one target")
			}
			l.Release()
		}
		if mustGet(t, p, web("b")) == links[0] {
			t.Error("two targets share a link")
		}
		if n := d.dials.Load(); n != 2 {
			t.Errorf("%d dials for two targets", n)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		for i, c := range d.conns {
			if !c.isClosed() {
				t.Errorf("connection %d is open after Close", i)
			}
		}
	})
}

// TestGetImpatient: one caller who leaves does not fail the others.
func TestGetImpatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{gate: make(chan struct{})}
		p := NewPool(d.dial, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := p.Get(ctx, web("a")); !errors.Is(err, context.Canceled) {
				t.Errorf("Get = %v", err)
			}
		})
		wg.Go(func() { mustGet(t, p, web("a")).Release() })
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(d.gate)
		wg.Wait()
		_ = p.Close()
		if n := d.dials.Load(); n != 1 {
			t.Errorf("%d dials", n)
		}
	})
}

func TestDialErrorIsSharedThenRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("host key")
		d := &dialer{gate: make(chan struct{}), errs: []error{why}}
		p := NewPool(d.dial, nil)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := p.Get(t.Context(), web("a")); !errors.Is(err, why) {
					t.Errorf("Get = %v", err)
				}
			})
		}
		synctest.Wait()
		close(d.gate)
		wg.Wait()
		mustGet(t, p, web("a")).Release()
		if n := d.dials.Load(); n != 2 {
			t.Errorf("%d dials, want one that fails and one that does not", n)
		}
		_ = p.Close()
	})
}

func TestBrokenLinkIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		p := NewPool(d.dial, nil)
		first := mustGet(t, p, web("a"))
		_ = d.conns[0].Close() // the network's doing
		if _, err := first.Start(t.Context(), "x"); !errors.Is(err, transport.ErrLost) {
			t.Errorf("Start on a broken link = %v", err)
		}
		second := mustGet(t, p, web("a"))
		if second == first {
			t.Error("a broken link is handed out")
		}
		first.Release()
		if d.conns[1].isClosed() {
			t.Error("releasing the broken link closed its successor")
		}
		_ = p.Close()
	})
}

func TestRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{}
		p := NewPool(d.dial, nil)
		a, b := mustGet(t, p, web("a")), mustGet(t, p, web("a"))
		a.Retire()
		fresh := mustGet(t, p, web("a"))
		if fresh == a {
			t.Error("a retired link is handed out")
		}
		a.Release()
		if d.conns[0].isClosed() {
			t.Error("it closed under its other holder")
		}
		b.Release()
		if !d.conns[0].isClosed() {
			t.Error("it is open after its last holder left")
		}
		fresh.Release()
		if d.conns[1].isClosed() {
			t.Error("an idle link is closed")
		}
		fresh.Retire()
		if !d.conns[1].isClosed() {
			t.Error("an idle link that is retired is open")
		}
		_ = p.Close()
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{gate: make(chan struct{})}
		p := NewPool(d.dial, nil)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = p.Get(t.Context(), web("a")) }) // may still get its link
		synctest.Wait()
		wg.Go(func() { _ = p.Close() })
		synctest.Wait()
		if _, err := p.Get(t.Context(), web("a")); !errors.Is(err, transport.ErrLost) {
			t.Errorf("Get after Close = %v", err)
		}
		close(d.gate)
		wg.Wait()
		synctest.Wait()
		if len(d.conns) != 1 || !d.conns[0].isClosed() {
			t.Error("the connection that was being dialled is left open")
		}
	})
}

func TestSlots(t *testing.T) {
	for _, sessions := range []int{1, 2, slots, 100} {
		synctest.Test(t, func(t *testing.T) {
			c := newFake(sessions)
			l := newLink(c)
			var wg sync.WaitGroup
			for range 60 {
				wg.Go(func() {
					p, err := l.Start(t.Context(), "x")
					if err != nil {
						t.Errorf("%d sessions: %v", sessions, err)
						return
					}
					time.Sleep(time.Second) // under synctest: until all others wait
					_ = p.Close()
					_ = p.Close() // gives its slot back once
				})
			}
			wg.Wait()
			if want := min(sessions, slots-1); c.most != want {
				t.Errorf("%d sessions: %d ran at once, want %d", sessions, c.most, want)
			}
			if len(l.free) != slots-1 || l.live != 0 {
				t.Errorf("%d sessions: %d free slots, %d live", sessions, len(l.free), l.live)
			}
		})
	}
}

// TestStartWaitsItsTurn: a target that is slow to free its only session is not
// one that refuses every session (regression: waiting added up).
func TestStartWaitsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFake(1)
		l := newLink(c)
		var wg sync.WaitGroup
		for range slots {
			wg.Go(func() {
				p, err := l.Start(t.Context(), "x")
				if err != nil {
					t.Error(err)
					return
				}
				// The link counts it as gone, and the target not yet.
				fake := p.(*process).Process.(*fakeProcess)
				p.(*process).Process = nopClose{fake}
				_ = p.Close()
				time.Sleep(refusedFor - 2*maxWait)
				_ = fake.Close()
			})
		}
		wg.Wait()
	})
}

type nopClose struct{ transport.Process }

func (nopClose) Close() error { return nil }

func TestStartGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(newFake(0))
		begin := time.Now()
		if _, err := l.Start(t.Context(), "x"); !errors.Is(err, transport.ErrBusy) {
			t.Errorf("Start = %v", err)
		}
		if d := time.Since(begin); d < refusedFor-maxWait || d > 2*refusedFor {
			t.Errorf("it gave up after %s", d)
		}
		if len(l.free) != slots-1 {
			t.Error("the slot is lost")
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
		if _, err := l.Start(ctx, "x"); !errors.Is(err, why) {
			t.Errorf("Start = %v", err)
		}
	})
}

// TestHelperNeedNotWait: a helper is looked for although commands that take long have all
// other places; where there is none, its place is for commands.
func TestHelperNeedNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(newFake(100))
		var procs []transport.Process
		for range slots - 1 {
			p, err := l.Start(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			procs = append(procs, p)
		}
		asked := make(chan struct{})
		find := func(context.Context, transport.Conn) (*frame.Client, error) {
			close(asked)
			return nil, errors.New("there is none")
		}
		for range 3 {
			if c := l.Helper(find); c != nil {
				t.Error("a helper from nowhere")
			}
		}
		<-asked
		p, err := l.Start(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range append(procs, p) {
			_ = p.Close()
		}
		if len(l.free) != slots {
			t.Errorf("%d free slots", len(l.free))
		}
	})
}

// TestStartUrgent passes the queue.
func TestStartUrgent(t *testing.T) {
	c := newFake(10)
	l := newLink(c)
	var procs []transport.Process
	for range slots - 1 {
		p, err := l.Start(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		procs = append(procs, p)
	}
	p, err := l.StartUrgent(t.Context(), "kill")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(procs, p) {
		_ = p.Close()
	}
}

func TestKey(t *testing.T) {
	base := target.Target{Kind: target.SSH, Host: "h", User: "u", Port: 22, KeyFile: "k", Jump: "j", KnownHosts: "n"}
	keys := []string{key(base)}
	for _, change := range []func(*target.Target){
		func(t *target.Target) { t.Kind = target.HTTPS }, func(t *target.Target) { t.Host = "h2" }, func(t *target.Target) { t.User = "u2" }, func(t *target.Target) { t.Port = 23 },
		func(t *target.Target) { t.KeyFile = "" }, func(t *target.Target) { t.Jump = "" }, func(t *target.Target) { t.KnownHosts = "" },
		func(t *target.Target) { t.Host, t.User = `h" "u`, "" },
	} {
		other := base
		change(&other)
		if slices.Contains(keys, key(other)) {
			t.Errorf("%+v shares a link with another", other)
		}
		keys = append(keys, key(other))
	}
	named := base
	named.Name, named.Profile, named.Labels = "another", "minimal", map[string]string{"a": "b"}
	if key(named) != keys[0] {
		t.Error("the name of a target decides about its link")
	}
}

// TestCloseEndsDials: also those that nobody waits for any more.
func TestCloseEndsDials(t *testing.T) {
	dialling := make(chan struct{})
	p := NewPool(func(ctx context.Context, _ target.Target) (transport.Conn, error) {
		close(dialling)
		<-ctx.Done()
		return nil, ctx.Err()
	}, nil)
	impatient, leave := context.WithCancel(t.Context())
	go func() { <-dialling; leave() }()
	if _, err := p.Get(impatient, target.Target{Name: "web1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Get = %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
