// Package ssh carries bytes and processes to targets over SSH, with strict
// host keys, modern algorithms and the user's own ssh_config.
//
// A [Dialer] turns a [target.Target] into an authenticated [Conn]. It decides
// nothing about what may run, keeps no pool, and writes no file: what it
// trusts is what known_hosts files say when it dials.
//
// # Invariants
//
//   - A host key that no known_hosts line vouches for ends the dial before any
//     authentication, for jump hosts as for targets. No setting weakens that;
//     "StrictHostKeyChecking no" of ssh_config is ignored.
//   - Algorithms come from the allow lists in algorithms.go.
//   - One deadline covers a dial from name resolution to login. It stops only
//     while a person is being asked, and in the line before a server that still
//     answers others.
//   - Only the phase before authentication is retried.
//   - Eight logins at a time at one server, and fewer when it drops some; see pace.
//     A jump host is a server, too.
//   - Text from the far side appears in errors bounded and escaped.
//
// # Sources
//
// known_hosts: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT", and check_host_key in
// OpenSSH's sshconnect.c. Configuration: ssh_config(5), asked from "ssh -G".
// Channels: RFC 4254.
package ssh

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/target"
)

const (
	// defaultTimeout covers six round trips to the other side of the world
	// and a slow login, and is what a person waits without doubt.
	defaultTimeout = 15 * time.Second

	// defaultKeepAlive notices a dead peer within a minute and costs a
	// hundred bytes each time.
	defaultKeepAlive = 15 * time.Second

	// keepAliveMisses is how many keep-alives may go unanswered, as
	// ServerAliveCountMax of OpenSSH.
	keepAliveMisses = 3
)

// Config is what a Dialer is made of. Every field is optional.
type Config struct {
	// KnownHosts are our own known_hosts files. A missing file is an empty
	// one. The target's own file and those of ssh_config are read as well.
	KnownHosts []string

	// SSHConfig says which ssh_config to obey, as the option -F of ssh does:
	// "" what ssh itself reads, "none" nothing of the user's at all (neither
	// configuration, known_hosts nor default keys), else a file.
	SSHConfig string

	// Prompt asks a person for a secret; echo says whether the answer may be
	// shown. The dial's deadline stops meanwhile. nil means nobody is there
	// to be asked.
	Prompt func(ctx context.Context, question string, echo bool) (string, error)

	// AgentSocket is where ssh-agent listens: "" what IdentityAgent and
	// SSH_AUTH_SOCK say, "none" no agent.
	AgentSocket string

	// Timeout bounds a whole dial, with all its attempts; default 15 s.
	Timeout time.Duration

	// Attempts bounds how often the phase before authentication is tried;
	// default 1. What the server drops because others log in is tried six times
	// anyway.
	Attempts int

	// Resolve finds a target by name, so that a jump host can be one.
	Resolve func(name string) (target.Target, bool)

	// KeepAlive is how often a connection is checked; default 15 s. Three
	// misses close it.
	KeepAlive time.Duration

	// Logf is told of steps, never of secrets.
	Logf func(format string, args ...any)

	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Dialer dials targets and remembers what it has read: known_hosts files until
// they change, ssh_config for its lifetime. Methods may be called
// concurrently. It holds no connection and needs no Close.
type Dialer struct {
	cfg   Config
	hosts hostFiles
	gates gates

	// mu guards settings and shared. It is not held while ssh -G runs.
	mu       sync.Mutex
	settings map[settingsKey]func() (settings, error)
	shared   map[settingsKey]*sharedAnswer // without host
}

// New returns a Dialer. It does no I/O.
func New(cfg Config) *Dialer {
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.KeepAlive = cmp.Or(cfg.KeepAlive, defaultKeepAlive)
	cfg.Attempts = max(cfg.Attempts, 1)
	if cfg.Logf == nil {
		cfg.Logf = func(string, ...any) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Dialer{cfg: cfg, settings: map[settingsKey]func() (settings, error){}, shared: map[settingsKey]*sharedAnswer{}}
}

// Dial connects to t with a Dialer of its own; see [Dialer.Dial]. Who dials
// more than once keeps a Dialer, which reads every file once.
func Dial(ctx context.Context, t target.Target, cfg Config) (transport.Conn, error) {
	c, err := New(cfg).Dial(ctx, t)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Scan asks t for its host key with a Dialer of its own; see [Dialer.Scan].
func Scan(ctx context.Context, t target.Target, cfg Config) (HostKey, error) {
	return New(cfg).Scan(ctx, t)
}
