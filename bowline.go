package bowline

import (
	"context"
	"time"

	"github.com/bowline-sh/bowline/internal/wire"
	"github.com/bowline-sh/bowline/target"
)

// Config says where a Client finds its files and whom it may ask. The zero
// value uses the places of docs/design.md and never asks.
type Config struct {
	ConfigDir  string // optional; default from the environment
	StateDir   string // optional; default from the environment
	RuntimeDir string // optional; default from the environment

	// Surface and Client are recorded with every audit entry: which part of
	// Bowline was called ("cli", "mcp", "api"; default "api"), and for whom.
	Surface string
	Client  string

	// Prompt asks a person, and is optional: without it nothing is asked, and
	// an encrypted key or a password is an error. echo is false for secrets.
	Prompt func(ctx context.Context, question string, echo bool) (string, error)

	// Notify is told, in one line, what a person should know about the files
	// that were read, and about a box of another owner before it is used; optional.
	Notify func(note string)

	// DialTimeout bounds connecting to a target: proxies, handshake and
	// authentication together. Default 15 s.
	DialTimeout time.Duration
	// DialAttempts is how often the network part of a connect is tried within
	// DialTimeout. Default 1.
	DialAttempts int

	// Spawn, if set, starts a background process that keeps links open for later
	// clients, detached, and returns at once; that process calls [Client.ServeLinks].
	// Build names this program: a process of another build is replaced. The command
	// line sets both; without them a Client keeps its links to itself.
	Spawn func() error
	Build string

	// Store is where sessions are kept: "sqlite:PATH", the address of a PostgreSQL database
	// as "postgres://USER@HOST/NAME", or "" for what the configuration says, which is a
	// file of the state directory if it says nothing.
	Store string

	// Program is the absolute path of the command-line program. Boxes are reached with ssh
	// and git through it; without it they get no entry in ssh_config and no git remote.
	Program string
}

// Client does what Bowline does. Methods may be called concurrently.
type Client struct {
	parts *wire.Parts
	cfg   Config
	audit auditState
	uses  uses
}

// Open reads the configuration and returns a Client. It connects to nothing.
// The Client must be closed.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	parts, err := wire.Build(ctx, wire.Options{
		ConfigDir: cfg.ConfigDir, StateDir: cfg.StateDir, RuntimeDir: cfg.RuntimeDir,
		Surface: cfg.Surface, Client: cfg.Client, Prompt: cfg.Prompt, Notify: cfg.Notify,
		DialTimeout: cfg.DialTimeout, DialAttempts: cfg.DialAttempts,
		Spawn: cfg.Spawn, Build: cfg.Build, Program: cfg.Program, Store: cfg.Store,
	})
	if err != nil {
		return nil, err
	}
	return &Client{parts: parts, cfg: cfg, audit: auditState{turn: make(chan struct{}, 1)}}, nil
}

// Close closes all links and the audit log. What still runs is lost.
func (c *Client) Close() error { return c.parts.Close() }

// LocalTarget is the name of the target that always exists: this machine.
const LocalTarget = target.LocalName

// FilePaths are where a Client finds its files.
type FilePaths struct {
	Config     string // config.toml
	Profiles   string // directory of profile files
	KnownHosts string // host keys pinned by Bowline
	Audit      string // directory of the audit log
	AuditHead  string // repeats the last hash of the log, apart from it
	Store      string // sessions
	Freeze     string // what is frozen from this client
}

// Paths says where a Client opened with cfg looks for its files. It reads none,
// so it works with a broken configuration.
func Paths(cfg Config) (FilePaths, error) {
	p, _, err := wire.FindPaths(wire.Options{ConfigDir: cfg.ConfigDir, StateDir: cfg.StateDir, RuntimeDir: cfg.RuntimeDir})
	return FilePaths(p), err
}

// Paths says where this Client's files are.
func (c *Client) Paths() FilePaths { return FilePaths(c.parts.Paths) }
