//go:build unix

package warm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/framed"
	"github.com/bowline-sh/bowline/target"
)

// Server is the background process.
type Server struct {
	Socket  string        // path; its directory must be the user's alone
	Build   string        // of this program; clients of another end it
	Idle    time.Duration // 0 means DefaultIdle
	Links   *link.Pool
	Helpers *link.Helpers

	mu      sync.Mutex
	open    int // connections of clients
	last    time.Time
	spent   bool // memory since it was last given back
	closing bool
	links   map[string]*kept

	standing map[standingKey]*standing
	stop     context.CancelFunc
}

// kept is a link that is kept open.
type kept struct {
	Link
	t target.Target
}

// maxHeader bounds the first line, in bytes.
const maxHeader = 64 << 10

// Serve listens until the process is idle, told to end, or ctx ends. It returns nil if
// another process has the socket.
func (s *Server) Serve(ctx context.Context) error {
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	s.links, s.standing, s.last = map[string]*kept{}, map[standingKey]*standing{}, time.Now()
	if s.Idle == 0 {
		s.Idle = DefaultIdle
	}
	l, err := s.listen(ctx)
	if err != nil || l == nil {
		return err
	}
	go s.watch(ctx, l)
	var clients sync.WaitGroup
	for {
		conn, err := l.Accept()
		if err != nil {
			break
		}
		clients.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			s.client(ctx, conn)
		})
	}
	clients.Wait()
	return s.Links.Close()
}

// listen takes the socket, unless another process answers on it.
func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if err := private(filepath.Dir(s.Socket)); err != nil {
		return nil, err
	}
	lock, err := durable.Lock(ctx, s.Socket+".lock")
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	if c, err := dialSocket(ctx, s.Socket); err == nil {
		return nil, c.Close() // a process of ours was faster
	}
	if err := os.Remove(s.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", s.Socket)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(s.Socket, 0o600)
}

// private makes dir, or refuses one that others could write to.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || ownerOf(info) != os.Geteuid() {
		return diag.New(diag.Denied, "keep links", "chmod 700 "+dir+", or set link.persist = \"off\"", "%s belongs to uid %d with mode %o; it must be yours and closed to others", dir, ownerOf(info), info.Mode().Perm())
	}
	return nil
}

// watch ends the listener when there is nothing to do any more.
func (s *Server) watch(ctx context.Context, l net.Listener) {
	tick := time.NewTicker(min(s.Idle/4+time.Millisecond, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-tick.C:
			s.dropIdle()
			s.giveBack()
			if !s.over() {
				continue
			}
		}
		_ = l.Close() // which removes the socket
		return
	}
}

// dropIdle closes links that nobody has used for the idle time.
func (s *Server) dropIdle() {
	s.mu.Lock()
	var idle []target.Target
	for _, n := range s.links {
		if n.Busy == 0 && time.Since(n.Used) > s.Idle {
			idle = append(idle, n.t)
		}
	}
	s.mu.Unlock()
	for _, t := range idle {
		s.Links.Drop(t)
	}
}

// quietFor is how long nobody calls before memory is given back, so that invocations in
// a row do not pay for it.
const quietFor = 2 * time.Second

// giveBack returns to the system what clients took who are gone: half of the memory
// after a thousand logins is garbage, which Go would keep for minutes.
func (s *Server) giveBack() {
	s.mu.Lock()
	quiet := s.spent && s.open == 0 && time.Since(s.last) > quietFor
	s.spent = s.spent && !quiet
	s.mu.Unlock()
	if quiet {
		debug.FreeOSMemory()
	}
}

func (s *Server) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open == 0 && (s.closing || time.Since(s.last) > s.Idle)
}

func (s *Server) enter(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += by
	s.last, s.spent = time.Now(), true
}

// client answers one connection.
func (s *Server) client(ctx context.Context, conn net.Conn) {
	if err := samePeer(conn); err != nil {
		return
	}
	s.enter(1)
	defer s.enter(-1)
	r := bufio.NewReaderSize(conn, maxHeader)
	line, err := r.ReadSlice('\n')
	var req request
	if err != nil || json.Unmarshal(line, &req) != nil {
		return
	}
	if req.Build != s.Build {
		s.retire()
		answer(conn, reply{Stale: true, PID: os.Getpid()})
		return
	}
	rw := struct {
		io.Reader
		io.Writer
	}{r, conn}
	switch req.Op {
	case "conn", "helper":
		s.lend(ctx, req, rw)
	case "list":
		answer(conn, reply{OK: true, Links: s.list(), PID: os.Getpid()})
	case "close":
		s.close(req)
		answer(conn, reply{OK: true, PID: os.Getpid()})
	}
}

func answer(w io.Writer, r reply) {
	b, err := json.Marshal(r)
	if err != nil {
		panic("warm: a reply cannot be encoded: " + err.Error()) // it is plain data
	}
	_, _ = w.Write(append(b, '\n')) // a client that left misses it
}

// retire takes no more work; the process ends with what is open.
func (s *Server) retire() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	_ = os.Remove(s.Socket) // the next process makes its own
}

// lend gives a client the link to a target, or the helper at its far end.
func (s *Server) lend(ctx context.Context, req request, rw io.ReadWriter) {
	if req.Target == nil || req.Target.Kind != target.SSH {
		answer(rw, reply{Error: newFailure(errors.New("only links over ssh are kept"))})
		return
	}
	l, err := s.Links.Get(ctx, *req.Target)
	if err != nil {
		answer(rw, reply{Error: newFailure(err)})
		return
	}
	defer l.Release()
	done := s.note(*req.Target, l)
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if req.Op == "conn" {
		answer(rw, reply{OK: true, Info: l.Info()})
		_ = frame.Serve(ctx, rw, rw, processes{l, s}.handle) // the client sees how it ended
		return
	}
	c := l.Helper(func(ctx context.Context, conn transport.Conn) (*frame.Client, error) {
		return s.Helpers.Start(ctx, conn, link.HelperOptions{})
	})
	if c == nil {
		answer(rw, reply{None: true})
		return
	}
	answer(rw, reply{OK: true, Info: l.Info()})
	_ = frame.Serve(ctx, rw, rw, calls{c}.handle)
}

// note counts a client of a link.
func (s *Server) note(t target.Target, l *link.Link) (done func()) {
	info := l.Info()
	key := t.Name + " " + info.Address + " " + info.Login
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.links[key]
	if n == nil {
		n = &kept{Link{Target: t.Name, Address: info.Address, Login: info.Login, Since: time.Now().UTC()}, t}
		s.links[key] = n
		go func() {
			<-l.Done()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.links, key)
		}()
	}
	n.Busy++
	n.Used = time.Now().UTC()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		n.Busy--
		n.Used = time.Now().UTC()
	}
}

func (s *Server) list() []Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Link
	for _, n := range s.links {
		out = append(out, n.Link)
	}
	slices.SortFunc(out, func(a, b Link) int { return strings.Compare(a.Target, b.Target) })
	return out
}

// close ends the link to a target, or the process.
func (s *Server) close(req request) {
	if req.All || req.Target == nil {
		s.retire()
		s.stop()
		return
	}
	s.Links.Drop(*req.Target)
}

// processes hands on processes of a link.
type processes struct {
	l *link.Link
	s *Server
}

func (p processes) handle(ctx context.Context, r *frame.Request) (any, error) {
	switch r.Verb {
	case verbDial:
		return p.dial(ctx, r)
	case verbKeep:
		return p.keep(ctx, r)
	}
	var body start
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	proc, err := p.start(ctx, r.Verb, body)
	if err != nil {
		return framed.Ended{Why: framed.Why(err)}, nil
	}
	return framed.Follow(ctx, r, proc)
}

// dial hands on a connection to a socket of the target.
func (p processes) dial(ctx context.Context, r *frame.Request) (any, error) {
	var body dial
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	conn, err := p.l.Dial(ctx, body.Network, body.Addr)
	if err != nil {
		return framed.Ended{Why: framed.Why(err)}, nil
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := r.Event(struct{}{}); err != nil { // it was accepted
		return nil, err
	}
	go func() {
		_, _ = io.Copy(conn, r.Stdin) // either side may stop first
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err = io.Copy(r.Stdout, conn)
	_ = r.Stdout.Close()
	if err != nil {
		return framed.Ended{Why: framed.WhyLost}, nil
	}
	return framed.Ended{}, nil
}

// standing is a process that stays as long as its link.
type standing struct {
	ready chan struct{} // closed when first and err are set
	first string
	err   error
}

// standingKey is a process of a link.
type standingKey struct {
	l    *link.Link
	line string
}

func (p processes) keep(ctx context.Context, r *frame.Request) (any, error) {
	var body keep
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	key := standingKey{p.l, body.Line}
	p.s.mu.Lock()
	st := p.s.standing[key]
	if st == nil && body.Only {
		p.s.mu.Unlock()
		return said{}, nil
	}
	if st == nil {
		st = &standing{ready: make(chan struct{})}
		p.s.standing[key] = st
		go p.s.stand(key, st)
	}
	p.s.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-st.ready:
	}
	if st.err != nil {
		return said{Why: framed.Why(st.err)}, nil
	}
	return said{First: st.first}, nil
}

// maxFirst bounds the first line of a process that stays, in bytes.
const maxFirst = 4 << 10

// stand runs a process until it or its link ends.
func (s *Server) stand(key standingKey, st *standing) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.standing, key)
	}()
	proc, err := key.l.Start(context.Background(), key.line)
	if err != nil {
		st.err = err
		close(st.ready)
		return
	}
	defer proc.Close()
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	out := bufio.NewReaderSize(proc.Stdout(), maxFirst)
	line, err := out.ReadSlice('\n')
	st.first, st.err = strings.TrimSuffix(string(line), "\n"), err
	close(st.ready)
	if err == nil {
		_, _ = io.Copy(io.Discard, out)
	}
}

func (p processes) start(ctx context.Context, verb string, body start) (transport.Process, error) {
	switch {
	case verb == verbSubsystem:
		return p.l.Subsystem(ctx, body.Line)
	case verb == verbStart && body.Urgent:
		return p.l.StartUrgent(ctx, body.Line)
	case verb == verbStart:
		return p.l.Start(ctx, body.Line)
	}
	return nil, fmt.Errorf("unknown verb %q", verb)
}

// calls hands on calls of a helper, which neither end notices.
type calls struct{ c *frame.Client }

func (h calls) handle(ctx context.Context, r *frame.Request) (any, error) {
	call, err := h.c.Open(r.Verb, r.Body, func(m json.RawMessage) { _ = r.Event(m) })
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, call.Cancel)
	defer stop()
	go func() {
		_, _ = io.Copy(call.Stdin, r.Stdin)
		_ = call.Stdin.Close()
	}()
	var out sync.WaitGroup
	out.Go(func() { framed.Pump(r.Stdout, call.Stdout) })
	out.Go(func() { framed.Pump(r.Stderr, call.Stderr) })
	out.Wait()
	var result json.RawMessage
	if err := call.Wait(ctx, &result); err != nil {
		return nil, err
	}
	return result, nil
}
