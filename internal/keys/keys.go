package keys

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// Recorder is the audit log as this package needs it; see executor.Recorder.
type Recorder interface {
	Begin(ctx context.Context, in audit.Intent) (id string, err error)
	End(ctx context.Context, id string, out audit.Outcome) error
}

// Config is what a Keeper is made of. Fields not marked optional are required.
type Config struct {
	Target  func(name string) (target.Target, error) // accepted targets only; does no I/O
	Targets func() []target.Target                   // all of the configuration
	Update  func(ctx context.Context, t target.Target) error

	Dial  func(ctx context.Context, t target.Target) (transport.Conn, error) // a new connection, as configured
	Prove func(ctx context.Context, t target.Target, passphrase string) (transport.Conn, error)
	// Prove is Dial, but with the key in t's key_file and nothing else. passphrase, if
	// not "", is that of the key.
	Offers func(ctx context.Context, t target.Target) ([]ssh.Key, error) // what Dial offers
	Forget func(ctx context.Context, t target.Target)                    // closes links to t that are kept open

	Recorder Recorder
	Dir      string // of the keys we make
	State    string // of the notes of rotations under way
	Prompt   Prompt // optional
	Now      func() time.Time
}

// Keeper looks after keys. Methods may be called concurrently.
type Keeper struct {
	cfg Config

	mu       sync.Mutex // guards accounts
	accounts map[target.Address]*sync.Mutex
}

// New returns a Keeper. It does no I/O.
func New(cfg Config) *Keeper {
	if cfg.Target == nil || cfg.Targets == nil || cfg.Update == nil || cfg.Dial == nil || cfg.Prove == nil || cfg.Offers == nil ||
		cfg.Forget == nil || cfg.Recorder == nil || cfg.Dir == "" || cfg.State == "" || cfg.Now == nil {
		panic("keys: Config is incomplete")
	}
	return &Keeper{cfg: cfg, accounts: map[target.Address]*sync.Mutex{}}
}

// account makes work on one account wait for that of others in this process: targets
// of different names may be the same account.
func (k *Keeper) account(t target.Target) *sync.Mutex {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := address(t)
	if k.accounts[a] == nil {
		k.accounts[a] = &sync.Mutex{}
	}
	return k.accounts[a]
}

func address(t target.Target) target.Address {
	return target.Address{User: t.User, Host: t.Host, Port: t.Port}
}

// refused records an attempt that got nowhere. The refusal stands whether or not it
// could be recorded.
func (k *Keeper) refused(ctx context.Context, verb, name string, why error) error {
	id, err := k.cfg.Recorder.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: verb, Target: name}})
	if err != nil {
		return errors.Join(why, err)
	}
	return errors.Join(why, k.cfg.Recorder.End(context.WithoutCancel(ctx), id, audit.Outcome{Err: why}))
}

// Create makes an ed25519 key. name without a slash is one in our own directory. With
// ask, a person is asked for a passphrase.
func (k *Keeper) Create(ctx context.Context, name string, ask bool) (ssh.Key, error) {
	path, err := k.path(name)
	if err != nil {
		return ssh.Key{}, err
	}
	passphrase := ""
	if ask {
		if passphrase, err = askPassphrase(ctx, k.cfg.Prompt, path); err != nil {
			return ssh.Key{}, err
		}
	}
	id, err := k.cfg.Recorder.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: "keys.create"}})
	if err != nil {
		return ssh.Key{}, err
	}
	key, err := write(path, comment(filepath.Base(path), k.cfg.Now()), passphrase)
	out := audit.Outcome{Err: err}
	if err == nil {
		out.Digests = map[string]string{"new_key": key.Fingerprint()}
	}
	return key, errors.Join(err, k.cfg.Recorder.End(context.WithoutCancel(ctx), id, out))
}

// path is where the key called name is, or shall be.
func (k *Keeper) path(name string) (string, error) {
	const op = "find key"
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", diag.New(diag.Usage, op, "", "%w", err)
		}
		return filepath.Join(home, rest), nil
	}
	if strings.ContainsRune(name, filepath.Separator) || strings.Contains(name, "/") {
		abs, err := filepath.Abs(name)
		if err != nil {
			return "", diag.New(diag.Usage, op, "", "%w", err)
		}
		return abs, nil
	}
	if target.ValidName(name) != nil {
		return "", diag.New(diag.Usage, op, "as in 'bowline keys create deploy', or a path with a slash", "%q is no name for a key: use letters, digits, '.', '_' and '-'", name)
	}
	return filepath.Join(k.cfg.Dir, name), nil
}

// Fingerprint says which key a person means: "SHA256:...", a file, or the name of one
// in our own directory.
func (k *Keeper) Fingerprint(name string) (string, error) {
	if rest, ok := strings.CutPrefix(name, "SHA256:"); ok {
		if len(rest) != 43 { // SHA-256 in base64 without padding
			return "", diag.New(diag.Usage, "find key", "take it from 'bowline keys list'", "%q is not of the form SHA256: and 43 characters", name)
		}
		return name, nil
	}
	path, err := k.path(name)
	if err != nil {
		return "", err
	}
	key, err := ssh.ReadKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", diag.New(diag.Usage, "find key", "name its file, or its fingerprint from 'bowline keys list'", "there is no key %s", path)
	}
	if err != nil {
		return "", err
	}
	if key.Public == nil {
		return "", diag.New(diag.Usage, "find key", "write its public half beside it: 'ssh-keygen -y -f "+path+" > "+path+".pub'", "%s is encrypted in a format that hides which key it is", path)
	}
	return key.Fingerprint(), nil
}
