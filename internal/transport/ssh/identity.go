package ssh

import (
	"context"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/target"
)

// Key is a key that logs in, as far as it can be known without its passphrase.
type Key struct {
	File      string // "" for a key that only the agent holds
	Public    ssh.PublicKey
	Comment   string // of the public half beside File; anybody may have written it
	Encrypted bool
	Private   bool // File holds the private half
	// Changed is when the older of File and File.pub was last written, zero if there
	// is no file. The key is at least as old.
	Changed time.Time
}

// Fingerprint is "SHA256:...", or "" for an encrypted key in a format that hides it.
func (k Key) Fingerprint() string {
	if k.Public == nil {
		return ""
	}
	return ssh.FingerprintSHA256(k.Public)
}

// ReadKey reads the key file at path, private or public, with the strictness of a
// dial. Errors are *diag.Error of kind Denied.
func ReadKey(path string) (Key, error) {
	k, err := readKeyFile(path, nil)
	if err != nil {
		return Key{}, err
	}
	return k.describe(), nil
}

func (k *keyFile) describe() Key {
	out := Key{File: k.path, Public: k.pub, Encrypted: k.sealed != nil, Private: k.signer != nil || k.sealed != nil}
	beside := strings.TrimSuffix(k.path, ".pub") + ".pub"
	for _, name := range []string{k.path, beside} {
		info, err := os.Stat(name)
		if err == nil && (out.Changed.IsZero() || info.ModTime().Before(out.Changed)) {
			out.Changed = info.ModTime()
		}
	}
	data, err := os.ReadFile(beside)
	if err != nil || k.pub == nil {
		return out
	}
	if pub, comment, _, _, err := ssh.ParseAuthorizedKey(data); err == nil && string(pub.Marshal()) == string(k.pub.Marshal()) {
		out.Comment = comment
	}
	return out
}

// Keys lists what a dial would offer t, in that order. It connects to the agent alone
// and asks nobody.
func (d *Dialer) Keys(ctx context.Context, t target.Target) ([]Key, error) {
	clock := startClock(ctx, d.cfg.Timeout, d.cfg.Now)
	defer clock.stop()
	r, err := router{d, clock, false}.route(clock.ctx, t, 0, false)
	if err != nil {
		return nil, err
	}
	l := d.newLogin(clock.ctx, r)
	defer l.Close()
	var out []Key
	for _, id := range l.queue {
		switch {
		case id.file != nil:
			out = append(out, id.file.describe())
		case id.key != nil:
			k := Key{Public: plainKey(id.key.PublicKey())}
			for _, f := range l.creds.named() {
				if f.pub != nil && string(f.pub.Marshal()) == string(k.Public.Marshal()) {
					k = f.describe()
				}
			}
			out = append(out, k)
		}
	}
	return out, nil
}
