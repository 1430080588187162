package ssh

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/internal/transport"
)

// process is a program on the far side of a session channel. It keeps the
// contract of [transport.Process].
type process struct {
	stdin          *stdin
	stdout, stderr *stream

	ended  chan struct{}  // closed by watch; exit and known are set before
	exit   transport.Exit // written by watch
	known  bool           // exit was told
	given  chan struct{}  // closed by Close
	giveUp func()         // closes given and the channel, once
}

var _ transport.Process = (*process)(nil)

// newProcess returns the process behind channel, a channel of c.
func newProcess(c *Conn, channel ssh.Channel) *process {
	p := &process{stdin: &stdin{channel: channel}, ended: make(chan struct{}), given: make(chan struct{})}
	p.stdout = newStream(channel, c.begin, p.given, c.over)
	p.stderr = newStream(channel.Stderr(), c.begin, p.given, c.over)
	p.giveUp = sync.OnceFunc(func() {
		close(p.given)
		_ = channel.Close() // EOF if the peer was first
	})
	return p
}

// watch reads what the target says about the program until the channel closes,
// which it does once the program has ended and both streams have.
func (p *process) watch(requests <-chan *ssh.Request) {
	defer close(p.ended)
	for r := range requests {
		switch r.Type {
		case "exit-status":
			var status struct{ Code uint32 }
			if ssh.Unmarshal(r.Payload, &status) == nil {
				p.exit, p.known = transport.Exit{Code: int(status.Code & 0xff)}, true
			}
		case "exit-signal":
			var signal struct {
				Name           string
				Core           bool
				Text, Language string
			}
			if ssh.Unmarshal(r.Payload, &signal) == nil {
				p.exit, p.known = exitBySignal(signal.Name), true
			}
		}
		if r.WantReply {
			_ = r.Reply(false, nil) // a broken link ends the loop
		}
	}
}

// exitBySignal maps a signal of RFC 4254, section 6.10, or one of OpenSSH's
// own. A name we do not know gives 128 alone.
func exitBySignal(name string) transport.Exit {
	name, _, _ = strings.Cut(name, "@")
	for _, c := range name {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') || len(name) > 16 {
			return transport.Exit{Code: 128, Signal: "UNKNOWN"}
		}
	}
	if name == "" {
		return transport.Exit{Code: 128, Signal: "UNKNOWN"}
	}
	numbers := map[string]int{ // of Linux, where targets run
		"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9,
		"USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "XCPU": 24, "XFSZ": 25, "SYS": 31,
	}
	return transport.Exit{Code: 128 + numbers[name], Signal: name}
}

func (p *process) Stdin() io.WriteCloser { return p.stdin }
func (p *process) Stdout() io.Reader     { return p.stdout }
func (p *process) Stderr() io.Reader     { return p.stderr }

// Wait returns how the program ended; see [transport.Process].
func (p *process) Wait() (transport.Exit, error) {
	select {
	case <-p.ended:
	case <-p.given:
	}
	select {
	case <-p.ended:
		if p.known {
			return p.exit, nil
		}
	default:
	}
	select {
	case <-p.given:
		return transport.Exit{}, errClosed
	default:
		return transport.Exit{}, lost(nil)
	}
}

// errClosed is the error of Wait where Close came before the end.
var errClosed = errors.New("process was given up; its outcome is unknown")

// Close gives up the streams. It is idempotent.
func (p *process) Close() error {
	p.giveUp()
	return nil
}

// stdin is the writing side of a channel. The channel itself does not allow
// Close while a Write is under way, as when the program no longer reads.
type stdin struct {
	channel ssh.Channel

	writing sync.Mutex // held by Write

	// mu guards the fields below; it is not held across I/O.
	mu     sync.Mutex
	busy   bool // a Write is under way
	closed bool
}

func (s *stdin) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if !s.enter() {
		return 0, os.ErrClosed
	}
	n, err := s.channel.Write(p)
	if s.leave() {
		_ = s.channel.CloseWrite() // Close left it to us
	}
	if errors.Is(err, io.EOF) { // the program, or the channel, is gone
		err = net.ErrClosed
	}
	return n, err
}

func (s *stdin) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = !s.closed
	return s.busy
}

func (s *stdin) leave() (closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	return s.closed
}

// Close sends end of file, after a Write that is under way. It is idempotent.
func (s *stdin) Close() error {
	s.mu.Lock()
	first, busy := !s.closed, s.busy
	s.closed = true
	s.mu.Unlock()
	if !first || busy {
		return nil
	}
	if err := s.channel.CloseWrite(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
