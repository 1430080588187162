// Package wire turns configuration into the concrete parts of a client. It is
// the only package that knows them all, and only bowline.Open calls it.
package wire

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	sshkey "golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/box"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/config"
	"github.com/bowline-sh/bowline/internal/engine"
	"github.com/bowline-sh/bowline/internal/executor"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/gate"
	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/inventory"
	"github.com/bowline-sh/bowline/internal/keys"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/redact"
	"github.com/bowline-sh/bowline/internal/sandbox/attack"
	"github.com/bowline-sh/bowline/internal/sshentry"
	"github.com/bowline-sh/bowline/internal/sshsig"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/transfer"
	"github.com/bowline-sh/bowline/internal/transfer/copier"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/https"
	"github.com/bowline-sh/bowline/internal/transport/local"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/internal/warm"
	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/target"
)

// Options are those of bowline.Config; all are optional.
type Options struct {
	ConfigDir, StateDir, RuntimeDir string
	Surface, Client                 string
	Prompt                          func(ctx context.Context, question string, echo bool) (string, error)
	Notify                          func(note string)
	DialTimeout                     time.Duration
	DialAttempts                    int
	// Build names this program, so that a background process of another version is not
	// used; "" keeps no links between invocations. Spawn starts that process.
	Build string
	Spawn func() error
	// Store is where sessions are kept: "sqlite:PATH", "postgres://..." or "" for what the
	// configuration says, which is a file of the state directory if it says nothing.
	Store string
	// Program is the absolute path of bowline, for entries of boxes in ssh_config; ""
	// makes none.
	Program string
}

// Paths are the files of one client.
type Paths struct {
	Config     string // config.toml
	Profiles   string // directory
	KnownHosts string // ours
	Audit      string // directory
	AuditHead  string // file that repeats the head of the log, apart from it
	Store      string // sessions
	Freeze     string // what is frozen from this client
}

// Parts are what a client is made of.
type Parts struct {
	Executor *executor.Executor
	Engine   *engine.Engine
	Copier   *copier.Copier
	Boxes    *box.Boxes
	// BoxCopier returns what copies to and from boxes, whose names are those of targets to
	// it, over connections that dial lends, and what ends it. Whoever asks has passed the
	// policy.
	BoxCopier func(dial link.Dialer) (c *copier.Copier, end func() error)
	Inventory *inventory.Inventory
	Tester    inventory.Tester
	Keys      *keys.Keeper
	Freezer   inventory.Freezer
	Profiles  config.Profiles
	Paths     Paths

	redactor *redact.Redactor

	log     *recorder
	links   *link.Pool
	helpers *link.Helpers
	store   *sessions
	warm    warm.Dialer
	gate    *gate.Gate
	rules   *rules
	notices sync.WaitGroup // commands of [notify] under way
	who     caller.Caller  // immutable
	runtime string         // directory of sockets; "" if there is none

	// mu guards cfg, which an edit replaces.
	mu  sync.Mutex
	cfg config.Config
}

// FindPaths says where the files are, without touching them.
func FindPaths(o Options) (Paths, config.Dirs, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	dirs := config.Dirs{Config: o.ConfigDir, State: o.StateDir, Runtime: o.RuntimeDir}
	if dirs.Config == "" || dirs.State == "" || dirs.Runtime == "" {
		found, err := config.FindDirs(os.Getenv, home)
		if err != nil && (dirs.Config == "" || dirs.State == "") {
			return Paths{}, dirs, diag.New(diag.Usage, "find configuration", "", "%w", err)
		}
		dirs = config.Dirs{Config: first(dirs.Config, found.Config), State: first(dirs.State, found.State), Runtime: first(dirs.Runtime, found.Runtime)}
	}
	return Paths{
		Config: filepath.Join(dirs.Config, "config.toml"), Profiles: filepath.Join(dirs.Config, "profiles"),
		KnownHosts: filepath.Join(dirs.Config, "known_hosts"), Audit: filepath.Join(dirs.State, "audit"),
		AuditHead: filepath.Join(dirs.State, "audit-head.json"), Store: filepath.Join(dirs.State, "bowline.db"),
		Freeze: filepath.Join(dirs.State, "freeze.json"),
	}, dirs, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Build reads the configuration and puts the parts together. It connects to
// nothing and opens no log before something is to be recorded.
func Build(ctx context.Context, o Options) (*Parts, error) {
	paths, dirs, err := FindPaths(o)
	if err != nil {
		return nil, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	cfg, err := config.Load(paths.Config, home)
	if err != nil {
		return nil, err
	}
	if o.Notify != nil {
		for _, n := range cfg.Notes {
			o.Notify(n)
		}
	}
	if cfg.Audit.Dir != "" {
		paths.Audit = cfg.Audit.Dir
	}
	red, err := redact.New(redact.Config{Declared: cfg.Audit.Secrets})
	if err != nil {
		return nil, diag.New(diag.Usage, "read configuration", "correct audit.secrets in "+paths.Config, "%w", err)
	}
	p := &Parts{Paths: paths, Profiles: config.Profiles{Dir: paths.Profiles}, cfg: cfg, runtime: dirs.Runtime, redactor: red}
	p.log = &recorder{cfg: audit.Config{Dir: paths.Audit, HeadFile: paths.AuditHead, MaxSize: cfg.Audit.MaxSize, Redactor: red,
		Actor: audit.Actor{Surface: first(o.Surface, "api"), Client: o.Client}}}
	p.store = &sessions{spec: first(o.Store, cfg.Store), file: paths.Store}
	p.rules = newRules(paths.Config, home, cfg)
	p.who = caller.Caller{User: login(), Surface: first(o.Surface, "api"), Client: o.Client}
	p.gate = gate.New(gate.Config{Policy: p.rules.policy, Now: time.Now, Ask: yesOrNo(o.Prompt), Caller: p.who, Counter: counter{p.store, gate.NewMemory()}})
	p.connect(o, home)
	return p, nil
}

// Mask masks what looks like a secret.
func (p *Parts) Mask(text string) string { return p.redactor.Text(text) }

func (p *Parts) connect(o Options, home string) {
	dialer := ssh.New(ssh.Config{
		KnownHosts: []string{p.Paths.KnownHosts}, Prompt: o.Prompt, Timeout: o.DialTimeout, Attempts: o.DialAttempts, Resolve: p.find,
	})
	tls := https.Dialer{Timeout: o.DialTimeout}
	direct := func(ctx context.Context, t target.Target) (transport.Conn, error) {
		switch t.Kind {
		case target.Local:
			return local.Dial(), nil
		case target.SSH:
			return dialer.Dial(ctx, t)
		case target.HTTPS:
			return tls.Dial(ctx, t)
		default:
			return nil, diag.New(diag.Usage, "connect to "+t.Name, "", "targets of type %s are not supported by this version", t.Kind)
		}
	}
	p.warm = warm.Dialer{Socket: warmSocket(p.Paths, p.runtime), Build: o.Build}
	dial := direct
	if o.Spawn != nil && p.cfg.Persist > 0 {
		p.warm.Spawn = o.Spawn
		dial = p.throughWarm(direct)
	}
	p.links = link.NewPool(dial, direct)
	editor := config.Editor{File: p.Paths.Config, Home: home}
	helpers := &link.Helpers{Binaries: new(helperbin.Set)}
	p.helpers = helpers
	named := func(name string) (profile.Profile, error) {
		p, err := p.Profiles.Get(name)
		return p.Profile, err
	}
	frozen := freeze.Gate{File: p.Paths.Freeze}
	p.Freezer = inventory.Freezer{Gate: frozen, Links: p.links, Recorder: p.log, Who: p.acts, Now: time.Now}
	p.Engine = engine.New(engine.Config{
		Target: p.Resolve, Links: p.links, Helpers: helpers, Recorder: p.log, Store: p.store.open, Now: time.Now,
		User: login(), Host: hostname(), Surface: first(o.Surface, "api"), Client: o.Client, Rules: approvalRules(p.cfg.Approval, o), Profile: named, Default: p.cfg.Profile,
		Frozen: frozen.Check, Gate: p.gate, Notify: p.notifier(o.Notify), Head: p.head,
	})
	p.Executor = executor.New(executor.Config{
		Target: p.Resolve, Default: p.cfg.Profile, Links: p.links, Recorder: p.log, Helpers: helpers,
		Profile: named, Frozen: frozen.Check, Gate: p.gate,
	})
	p.Copier = copier.New(copier.Config{Target: p.Resolve, Links: p.links, Helpers: helpers, Recorder: p.log, Rules: p.transferRules, Now: time.Now, Frozen: frozen.Check, Gate: p.gate})
	p.BoxCopier = func(dial link.Dialer) (*copier.Copier, func() error) {
		pool := link.NewPool(dial, nil)
		return copier.New(copier.Config{Target: insideBox, Links: pool, Helpers: helpers, Recorder: p.log, Rules: func() transfer.Policy { return transfer.Policy{} }, Now: time.Now, Gate: entered{}}), pool.Close
	}
	p.Boxes = box.New(box.Config{Owner: p.Who(), Notify: o.Notify, Target: p.Resolve, Links: p.links, Recorder: p.log, Frozen: frozen.Check, Gate: p.gate, Laptop: box.Laptop{
		Entries: sshentry.Files{Dir: filepath.Dir(p.Paths.Config), Home: home, Sockets: p.runtime}, Program: o.Program,
	}})
	p.Inventory = inventory.New(inventory.Config{
		Find: p.find, Editor: reloading{editor, p, home}, Scan: dialer.Scan, KnownHosts: p.Paths.KnownHosts, Recorder: p.log, Certificate: tls.Scan,
	})
	p.Tester = inventory.Tester{Links: p.links, Recorder: p.log, Attacks: attacks}
	p.Keys = keys.New(p.keyParts(o, dialer, reloading{editor, p, home}))
}

// keyParts are what looks after keys: its connections are new ones, never those of the
// pool, for it must see who gets in now.
func (p *Parts) keyParts(o Options, dialer *ssh.Dialer, editor reloading) keys.Config {
	return keys.Config{
		Target: p.Resolve, Targets: p.Targets, Update: editor.UpdateTarget, Recorder: p.log, Prompt: o.Prompt, Now: time.Now,
		Dir: filepath.Join(filepath.Dir(p.Paths.Config), "keys"), State: filepath.Join(filepath.Dir(p.Paths.Store), "rotations"), Offers: dialer.Keys,
		Dial: func(ctx context.Context, t target.Target) (transport.Conn, error) {
			conn, err := dialer.Dial(ctx, t)
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		Prove: func(ctx context.Context, t target.Target, passphrase string) (transport.Conn, error) {
			d := dialer
			if passphrase != "" {
				d = ssh.New(ssh.Config{
					KnownHosts: []string{p.Paths.KnownHosts}, Timeout: o.DialTimeout, Attempts: o.DialAttempts, Resolve: p.find,
					Prompt: func(ctx context.Context, question string, echo bool) (string, error) {
						if strings.Contains(question, strconv.Quote(t.KeyFile)) {
							return passphrase, nil
						}
						return o.Prompt(ctx, question, echo)
					},
				})
			}
			conn, err := d.DialWithKey(ctx, t)
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		Forget: func(ctx context.Context, t target.Target) {
			p.links.Drop(t)
			_ = p.warm.Close(ctx, &t) // there may be no such process
		},
	}
}

// approvalRules are those of the configuration. A person signs with their own key.
func approvalRules(a config.Approval, o Options) engine.Rules {
	rules := engine.Rules{TwoPerson: a.TwoPerson, RequireSignature: a.RequireSignature}
	if !a.Sign && !a.RequireSignature {
		return rules
	}
	key := ssh.SigningKey{File: a.KeyFile, Prompt: o.Prompt}
	rules.Key = func(ctx context.Context, use func(engine.Sign) error) error {
		return key.Use(ctx, func(s sshkey.Signer) error {
			return use(func(statement []byte) (armored, keyID string, err error) {
				return sshsig.Sign(s, plan.SignatureNamespace, statement)
			})
		})
	}
	return rules
}

// throughWarm dials through the background process that keeps links, and directly where
// that cannot: there is none, or a person must be asked something.
func (p *Parts) throughWarm(direct link.Dialer) link.Dialer {
	return func(ctx context.Context, t target.Target) (transport.Conn, error) {
		if t.Kind != target.SSH {
			return direct(ctx, t)
		}
		conn, err := p.warm.Dial(ctx, t)
		if err == nil || !errors.Is(err, warm.ErrNone) && diag.KindOf(err) != diag.Denied {
			return conn, err
		}
		return direct(ctx, t)
	}
}

// warmSocket is where the process listens that keeps the links of this configuration.
func warmSocket(paths Paths, runtime string) string {
	if runtime == "" {
		runtime = filepath.Join(filepath.Dir(paths.Store), "run")
	}
	sum := sha256.Sum256([]byte(paths.Config + "\x00" + paths.KnownHosts))
	return filepath.Join(runtime, "link-"+hex.EncodeToString(sum[:4])+".sock")
}

// Warm reaches the process that keeps links.
func (p *Parts) Warm() warm.Dialer { return p.warm }

// ServeLinks is the process that keeps links. It returns when it is over.
func (p *Parts) ServeLinks(ctx context.Context) error {
	s := warm.Server{Socket: p.warm.Socket, Build: p.warm.Build, Idle: p.config().Persist, Links: p.links, Helpers: p.helpers}
	return s.Serve(ctx)
}

func (p *Parts) config() config.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

func (p *Parts) find(name string) (target.Target, bool) { return p.config().Find(name) }

// insideBox is a box as a target of a copy.
func insideBox(name string) (target.Target, error) {
	return target.Target{Name: name, Kind: target.SSH, Host: name}, nil
}

// entered is the policy where it was asked already.
type entered struct{}

func (entered) Enter(context.Context, policy.Request) (leave func(), err error) {
	return func() {}, nil
}

// transferRules are the [transfer] table.
func (p *Parts) transferRules() transfer.Policy {
	t := p.config().Transfer
	return transfer.Policy{Allow: t.Allow, Refuse: t.Refuse}
}

// Resolve returns the target to act on; see [config.Config.Resolve].
func (p *Parts) Resolve(name string) (target.Target, error) {
	return p.config().Resolve(name, os.Getenv("BOWLINE_TARGET"))
}

// Accept reports why calls for a target are refused, or nil.
func (p *Parts) Accept(name string) error {
	_, err := p.config().Resolve(name, "")
	return err
}

// Targets lists all targets in the order of the configuration.
func (p *Parts) Targets() []target.Target { return p.config().Targets() }

// Select returns the targets that a selector means, and that may be used.
func (p *Parts) Select(selector string) ([]target.Target, error) { return p.config().Select(selector) }

// DefaultTarget is the target of calls that name none.
func (p *Parts) DefaultTarget() string { return first(p.config().DefaultTarget, target.LocalName) }

// BoxDefaults is what boxes on a target are made with where the call says nothing.
func (p *Parts) BoxDefaults(name string) (config.Box, bool) { return p.config().Box(name) }

// SourceOf says where a target is defined, as "file:line", or "".
func (p *Parts) SourceOf(name string) string {
	cfg := p.config()
	if line := cfg.Line(name); line > 0 {
		return fmt.Sprintf("%s:%d", cfg.File, line)
	}
	return ""
}

// ProfileFor returns the profile a target uses if a call names none.
func (p *Parts) ProfileFor(t target.Target) (profile.Profile, error) {
	named, err := p.Profiles.Get(first(t.Profile, p.config().Profile))
	return named.Profile, err
}

// AuditReader reads the audit log, whether or not it can be written.
func (p *Parts) AuditReader() *audit.Reader { return audit.NewReader(p.Paths.Audit, p.Paths.AuditHead) }

// Who is the person this client acts for, as login@host.
func (p *Parts) Who() string { return login() + "@" + hostname() }

// Store is where sessions and tokens are kept, opened on first use.
func (p *Parts) Store(ctx context.Context) (store.Store, error) { return p.store.open(ctx) }

// Recorder writes the audit log.
func (p *Parts) Recorder() engine.Recorder { return p.log }

// acts is who makes a call, as login@host.
func (p *Parts) acts(ctx context.Context) string {
	return caller.From(ctx, p.who).User + "@" + hostname()
}

// Close closes links first, so that outcomes can still be recorded.
func (p *Parts) Close() error {
	p.notices.Wait()
	return errors.Join(p.links.Close(), p.store.close(), p.log.close())
}

// reloading is an editor whose changes the running client sees.
type reloading struct {
	config.Editor
	parts *Parts
	home  string
}

func (r reloading) AddTarget(ctx context.Context, t target.Target) error {
	return r.reload(r.Editor.AddTarget(ctx, t))
}

func (r reloading) AddTargets(ctx context.Context, list []target.Target) error {
	return r.reload(r.Editor.AddTargets(ctx, list))
}

func (r reloading) UpdateTarget(ctx context.Context, t target.Target) error {
	return r.reload(r.Editor.UpdateTarget(ctx, t))
}

func (r reloading) RemoveTarget(ctx context.Context, name string) error {
	return r.reload(r.Editor.RemoveTarget(ctx, name))
}

func (r reloading) SetDefault(ctx context.Context, name string) error {
	return r.reload(r.Editor.SetDefault(ctx, name))
}

func (r reloading) reload(err error) error {
	if err != nil {
		return err
	}
	cfg, err := config.Load(r.File, r.home)
	if err != nil {
		return err
	}
	r.parts.mu.Lock()
	r.parts.cfg = cfg
	r.parts.mu.Unlock()
	return nil
}

// attacks runs the attack suite and says what to do where something did not hold.
func attacks(ctx context.Context, conn transport.Conn, prof profile.Profile) ([]inventory.Check, error) {
	findings, err := attack.Run(ctx, conn, prof)
	checks := make([]inventory.Check, len(findings))
	for i, f := range findings {
		checks[i] = inventory.Check{Name: f.Name, OK: f.Held, Detail: f.Detail}
		if !f.Held {
			checks[i].Kind = diag.Failure
			checks[i].Hint = "run nothing untrusted on this target; see 'bowline profile explain " + prof.Name + "', and report it with 'bowline doctor --attack --json'"
		}
	}
	return checks, err
}
