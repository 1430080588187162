package audit

import (
	"cmp"
	"context"
	"crypto/rand"
	"os"
	"os/user"
	"path/filepath"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bowline-sh/bowline/internal/redact"
)

// DefaultMaxSize is the size at which a segment is closed: some 50,000 entries,
// which Verify reads in half a second.
const DefaultMaxSize = 32 << 20

// Config is what a Log is made of. Fields not marked required are optional.
type Config struct {
	Dir      string           // required; made with 0700 if missing
	HeadFile string           // default DIR/head.json; its directory must exist
	MaxSize  int64            // bytes of a segment, default DefaultMaxSize
	Actor    Actor            // empty User, Host and PID are those of this process
	Redactor *redact.Redactor // default: the built-in rules
	Now      func() time.Time // default time.Now; called concurrently
	// NewID returns the ID of an operation; default a new ULID. It is called
	// concurrently.
	NewID func() string
}

// Log is an audit log open for writing; its Reader's methods read it. Methods
// may be called concurrently, and several processes may have the same log
// open. It must be closed.
type Log struct {
	*Reader
	cfg Config

	// turn holds a token while a goroutine writes; it then owns tail.
	turn chan struct{}
	tail tail

	// mu guards the fields below and is never held across I/O.
	mu      sync.Mutex
	pending []*request
	begun   map[string]operation // by ID
	closed  bool
}

// operation is what End must remember of an intent.
type operation struct {
	subject  Subject
	redactor *redact.Redactor // knows the secrets in the intent's environment
}

// Open opens the log for writing, creating it if there is none, and repairs
// what a crash left; see the package comment. Every error is a *diag.Error
// that says what to type, of kind Denied unless ctx was canceled. A log that
// was tampered with cannot be opened for writing, only read with [NewReader].
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if cfg.Dir == "" {
		panic("audit: Config.Dir is required")
	}
	cfg.HeadFile = cmp.Or(cfg.HeadFile, filepath.Join(cfg.Dir, headName))
	cfg.MaxSize = cmp.Or(cfg.MaxSize, DefaultMaxSize)
	cfg.Actor = processActor(cfg.Actor)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewID == nil {
		now := cfg.Now
		cfg.NewID = func() string { return ulid.MustNew(ulid.Timestamp(now()), rand.Reader).String() }
	}
	l := &Log{
		Reader: NewReader(cfg.Dir, cfg.HeadFile), cfg: cfg,
		turn: make(chan struct{}, 1), begun: make(map[string]operation),
	}
	l.turn <- struct{}{}
	err := l.commit(ctx, nil)
	<-l.turn
	if err != nil {
		l.tail.close()
		return nil, l.denied(err)
	}
	return l, nil
}

func processActor(a Actor) Actor {
	if a.User == "" {
		if u, err := user.Current(); err == nil {
			a.User = u.Username
		}
	}
	if a.Host == "" {
		a.Host, _ = os.Hostname() // stays empty: the entry is still worth having
	}
	a.PID = cmp.Or(a.PID, os.Getpid())
	return a.bounded()
}

// Begin records that an operation is about to start and returns its ID. A nil
// error means that the entry is on disk; with any other the operation must not
// start. Errors are as those of [Open]. If ctx ends while the entry is being
// written, Begin waits for it and returns nil: nobody need act on it.
func (l *Log) Begin(ctx context.Context, in Intent) (id string, err error) {
	r := l.cfg.Redactor
	secrets := r.SecretEnv(in.Env)
	for _, name := range in.SecretEnv {
		secrets = append(secrets, in.Env[name])
	}
	if len(secrets) > 0 {
		r = r.WithValues(secrets...)
	}
	in.ID = bound(cmp.Or(in.ID, l.cfg.NewID()), maxField)
	if err := l.append(ctx, in.entry(r)); err != nil {
		return "", l.denied(err)
	}
	in.Subject.Digests = nil // told once
	l.mu.Lock()
	l.begun[in.ID] = operation{in.Subject, r}
	l.mu.Unlock()
	return in.ID, nil
}

// endTimeout bounds how long End waits for other writers after its caller left.
const endTimeout = 10 * time.Second

// End records what came of the operation that Begin named id; a nil error
// means that it is on disk. It does so even if ctx is canceled: what was done
// stays done. For an id that this Log did not begin, as after a restart, the
// outcome must name its subject itself.
func (l *Log) End(ctx context.Context, id string, out Outcome) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	l.mu.Lock()
	op, ok := l.begun[id]
	delete(l.begun, id)
	l.mu.Unlock()
	if !ok {
		op.redactor = l.cfg.Redactor
	}
	out.Subject = out.Subject.over(op.subject)
	return l.denied(l.append(ctx, out.entry(bound(id, maxField), op.redactor)))
}

// Note records anything that is neither intent nor outcome; a nil error means
// that it is on disk.
func (l *Log) Note(ctx context.Context, n Note) error {
	l.mu.Lock()
	op, ok := l.begun[n.ID]
	l.mu.Unlock()
	if !ok {
		op.redactor = l.cfg.Redactor
	}
	n.Subject = n.Subject.over(op.subject)
	n.ID = bound(cmp.Or(n.ID, l.cfg.NewID()), maxField)
	return l.denied(l.append(ctx, n.entry(op.redactor)))
}

// Close syncs the head and releases the files. It is idempotent; calls of
// Begin, End and Note that wait for their turn fail with ErrClosed.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.answer(l.take(), ErrClosed)
	return l.tail.close()
}
