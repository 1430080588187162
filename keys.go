package bowline

import (
	"context"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/fleet"
	"github.com/bowline-sh/bowline/internal/keys"
	"github.com/bowline-sh/bowline/target"
)

// Key is a key that logs in to targets.
type Key struct {
	File        string    // private or public half; "" for a key that only ssh-agent holds
	Type        string    // "ed25519", "rsa 3072"; "" where an encrypted file hides it
	Fingerprint string    // "SHA256:..."; "" likewise
	Comment     string    // hostile text
	Encrypted   bool      // with a passphrase
	Agent       bool      // only ssh-agent holds the private half
	Since       time.Time // when it was made, or was surely there; zero if nothing is known
	AgeFrom     string    // KeyAgeMade, KeyAgeFile or ""
	Old         bool      // older than 90 days: it should be rotated
	Targets     []string  // whose key_file it is
	Offered     []string  // targets that name no key and would be offered this one
	Problem     string    // why it cannot be used, or ""
}

// Where the age of a key comes from.
const (
	KeyAgeMade = keys.AgeMade // Bowline made it then
	KeyAgeFile = keys.AgeFile // its file was there then: it may be older
)

// Keys lists the keys that the targets of a selector ("" for all) use. It connects to
// ssh-agent alone.
func (c *Client) Keys(ctx context.Context, selector string) ([]Key, error) {
	list := c.parts.Targets()
	if selector != "" {
		var err error
		if list, err = c.parts.Select(selector); err != nil {
			return nil, err
		}
	}
	known, err := c.parts.Keys.List(ctx, list)
	out := make([]Key, len(known))
	for i, k := range known {
		out[i] = Key{File: k.File, Type: k.Type, Fingerprint: k.Fingerprint, Comment: k.Comment, Encrypted: k.Encrypted, Agent: k.Agent,
			Since: k.Since, AgeFrom: k.AgeFrom, Old: k.Old(time.Now()), Targets: k.Targets, Offered: k.Offered, Problem: k.Problem}
	}
	return out, err
}

// CreateKey makes an ed25519 key: private half 0600 in OpenSSH's format, public half
// beside it. name is a path, or, without a slash, a name in the directory keys beside
// config.toml. With passphrase, a person is asked for one.
func (c *Client) CreateKey(ctx context.Context, name string, passphrase bool) (Key, error) {
	k, err := c.parts.Keys.Create(ctx, name, passphrase)
	if k.Public == nil {
		return Key{}, err
	}
	return Key{File: k.File, Type: "ed25519", Fingerprint: k.Fingerprint(), Comment: k.Comment, Encrypted: k.Encrypted, Since: time.Now(), AgeFrom: KeyAgeMade}, err
}

// KeyPassphrase says whether new keys get a passphrase.
type KeyPassphrase string

const (
	PassphraseLikeOld KeyPassphrase = KeyPassphrase(keys.LikeOld) // where the key in use has one, or only an agent holds it
	PassphraseAsk     KeyPassphrase = KeyPassphrase(keys.Ask)     // always
	PassphraseNone    KeyPassphrase = KeyPassphrase(keys.None)    // never
)

// KeyRotation says how keys are exchanged.
type KeyRotation struct {
	NewKey     string // file of the new key, or of its public half if an agent holds it; "" makes one for each target
	KeepOld    bool   // leave the old key on the target
	Passphrase KeyPassphrase
	Progress   func(target, step string) // optional; called from several goroutines
}

// RotatedKey is what became of the key of one target.
type RotatedKey struct {
	Target  string
	Class   Class
	Old     string // fingerprint; "" if it did not come that far
	New     string
	NewFile string
	Resumed bool // an earlier call was broken off, and this one went on
	KeptOld bool // the old key still logs in
	Notes   []string
	AuditID string
	Err     error
}

// RotateKeys gives every named target a new key: the new one is added to the account,
// proven by a new connection that offers nothing else, written to config.toml, and only
// then the old one is taken out. Whatever fails, the key in use still works; where a
// call was broken off, the same call goes on. ended is told of each target exactly once,
// one at a time. An error means that nothing was begun.
func (c *Client) RotateKeys(ctx context.Context, names []string, req KeyRotation, o FleetOptions, ended func(RotatedKey)) (FleetReport, error) {
	how := &keys.Rotation{NewKey: req.NewKey, KeepOld: req.KeepOld, Passphrase: keys.Passphrase(req.Passphrase)}
	if req.Progress != nil {
		how.Progress = func(t string, s keys.Step) { req.Progress(t, string(s)) }
	}
	return c.onFleet(ctx, names, o, func(ctx context.Context, name string) (Class, func(Class)) {
		r, err := c.parts.Keys.Rotate(ctx, name, how)
		return classOf(RunResult{}, err), func(class Class) {
			ended(RotatedKey{Target: r.Target, Class: class, Old: r.Old, New: r.New, NewFile: r.NewFile, Resumed: r.Resumed, KeptOld: r.KeptOld, Notes: r.Notes, AuditID: r.AuditID, Err: err})
		}
	}, func(name string) { ended(RotatedKey{Target: name, Class: ClassSkipped}) })
}

// RetiredKey is what became of a key on one target.
type RetiredKey struct {
	Target  string
	Class   Class
	Key     string // fingerprint
	Lines   int    // that were taken out of authorized_keys; 0 if there was none
	AuditID string
	Err     error
}

// RetireKey takes a key, named by its file, its name in our directory or its
// fingerprint, out of the accounts of the named targets. It is refused where the key is
// in use, and taken back where no login works without it. See RotateKeys for ended.
func (c *Client) RetireKey(ctx context.Context, key string, names []string, o FleetOptions, ended func(RetiredKey)) (FleetReport, error) {
	fingerprint, err := c.parts.Keys.Fingerprint(key)
	if err != nil {
		return FleetReport{}, err
	}
	return c.onFleet(ctx, names, o, func(ctx context.Context, name string) (Class, func(Class)) {
		r, err := c.parts.Keys.Retire(ctx, name, fingerprint)
		return classOf(RunResult{}, err), func(class Class) {
			ended(RetiredKey{Target: r.Target, Class: class, Key: r.Key, Lines: r.Lines, AuditID: r.AuditID, Err: err})
		}
	}, func(name string) { ended(RetiredKey{Target: name, Class: ClassSkipped, Key: fingerprint}) })
}

// SSHTargets lists the names of the ssh targets that a selector means ("" for all that
// may be used).
func (c *Client) SSHTargets(selector string) ([]string, error) {
	if selector == "" {
		selector = "all"
	}
	list, err := c.parts.Select(selector)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range list {
		if t.Kind == target.SSH {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return nil, diag.New(diag.Usage, "find targets", "see 'bowline target list'", "the selector %q means no target of type ssh", selector)
	}
	return names, nil
}

// onFleet does work on targets and counts how each ended. tell is called once for each,
// one at a time.
func (c *Client) onFleet(ctx context.Context, names []string, o FleetOptions, work func(ctx context.Context, name string) (class Class, tell func(Class)), skipped func(name string)) (FleetReport, error) {
	opts, err := o.parse()
	if err != nil {
		return FleetReport{}, err
	}
	if names, err = opts.Arrange(names); err != nil {
		return FleetReport{}, diag.New(diag.Usage, "read order", "", "%w", err)
	}
	report := FleetReport{Targets: names, Classes: map[Class][]string{}}
	var mu sync.Mutex
	fleet.Do(ctx, opts, names, func(ctx context.Context, name string) bool {
		class, tell := work(ctx, name)
		mu.Lock()
		defer mu.Unlock()
		report.Classes[class] = append(report.Classes[class], name)
		tell(class)
		return class == ClassOK
	}, func(name string) {
		mu.Lock()
		defer mu.Unlock()
		report.Classes[ClassSkipped] = append(report.Classes[ClassSkipped], name)
		skipped(name)
	})
	report.sort()
	return report, nil
}
