package keys

import (
	"context"
	"errors"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/authkeys"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// Retired is what became of the lines of a key on one target.
type Retired struct {
	Target  string
	Key     string // fingerprint
	Lines   int    // that were taken out; 0 if there was none
	AuditID string
}

// Retire takes the key of that fingerprint out of the account of a target. It is
// refused for a key that logs in here: the one in use, or that of another target for
// the same account. Without it a login must still work; where it does not, the line is
// put back and the error says so.
func (k *Keeper) Retire(ctx context.Context, name, fingerprint string) (Retired, error) {
	res := Retired{Target: name, Key: fingerprint}
	op := "retire a key on " + name
	t, err := k.cfg.Target(name)
	if err == nil && t.Kind != target.SSH {
		err = diag.New(diag.Usage, "", "", "a target of type %s has no SSH key", t.Kind)
	}
	if err != nil {
		return res, k.refused(ctx, "keys.retire", name, withOp(op, err))
	}
	res.Target = t.Name
	mu := k.account(t)
	mu.Lock()
	defer mu.Unlock()
	id, err := k.cfg.Recorder.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: "keys.retire", Target: t.Name, Digests: map[string]string{"old_key": fingerprint}}})
	if err != nil {
		return res, err
	}
	res.AuditID = id
	subject, err := k.retire(ctx, t, &res)
	return res, errors.Join(withOp(op, err), k.cfg.Recorder.End(context.WithoutCancel(ctx), id, audit.Outcome{Subject: subject, Err: err}))
}

func inUse(t target.Target, why string, args ...any) error {
	return diag.New(diag.Refused, "", "give the target another key first: 'bowline keys rotate -t "+t.Name+"'", why, args...)
}

func (k *Keeper) retire(ctx context.Context, t target.Target, res *Retired) (audit.Subject, error) {
	if key, err := ssh.ReadKey(t.KeyFile); t.KeyFile != "" && err == nil && key.Fingerprint() == res.Key {
		return audit.Subject{}, inUse(t, "the configuration names this key for %s; it was left", t.Name)
	}
	if others := k.named(t, res.Key); len(others) > 0 {
		return audit.Subject{}, inUse(t, "%s uses this key for the same account; it was left", strings.Join(others, ", "))
	}
	conn, err := k.cfg.Dial(ctx, t)
	if err != nil {
		return audit.Subject{}, err
	}
	defer conn.Close()
	info := conn.Info()
	subject := audit.Subject{Address: info.Address, Login: info.Login, HostKey: info.Fingerprint, KeyID: info.KeyID}
	switch info.KeyID {
	case res.Key:
		return subject, inUse(t, "it is the key that logged in just now; it was left")
	case "":
		return subject, inUse(t, "no key logged in but a password; this key may be the only one, so it was left")
	}
	return subject, k.takeOut(ctx, t, conn, res)
}

// named names targets of the account of t whose configuration names the key, or one that
// may be it.
func (k *Keeper) named(t target.Target, fingerprint string) []string {
	var names []string
	for _, o := range k.cfg.Targets() {
		if o.Name == t.Name || o.Kind != target.SSH || address(o) != address(t) || o.KeyFile == "" {
			continue
		}
		key, err := ssh.ReadKey(o.KeyFile)
		tokens := strings.Contains(o.KeyFile, "%") // only a dial knows which file that is
		if tokens || err == nil && (key.Public == nil || key.Fingerprint() == fingerprint) {
			names = append(names, o.Name)
		}
	}
	return names
}

func (k *Keeper) takeOut(ctx context.Context, t target.Target, conn transport.Conn, res *Retired) error {
	var key gossh.PublicKey
	before, err := editKeys(ctx, conn, func(data []byte) ([]byte, error) {
		if key = authkeys.Find(data, res.Key); key == nil {
			return data, nil
		}
		out, n := authkeys.Without(data, key)
		res.Lines = n
		return out, nil
	})
	if err != nil || key == nil {
		return err
	}
	again, err := k.cfg.Dial(ctx, t)
	if err != nil {
		res.Lines = 0
		return k.putBack(ctx, conn, before, key, err)
	}
	return again.Close()
}
