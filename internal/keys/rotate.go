package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/authkeys"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// Passphrase says whether new keys get one.
type Passphrase string

const (
	LikeOld Passphrase = ""     // where the key in use has one, or only an agent holds it
	Ask     Passphrase = "ask"  // always
	None    Passphrase = "none" // never
)

// Step is what a rotation has done, for good.
type Step string

const (
	Noted   Step = "noted"   // the rotation is on record
	Made    Step = "made"    // the new key exists
	Added   Step = "added"   // its line is on the target
	Proven  Step = "proven"  // it logged in
	Stored  Step = "stored"  // the configuration names it
	Removed Step = "removed" // the old line is gone
)

// Rotation exchanges the keys of targets. Its methods may be called concurrently.
type Rotation struct {
	NewKey     string // file of the new key, or its name in our directory; "" makes one for each target
	KeepOld    bool   // leave the old line
	Passphrase Passphrase
	Progress   func(target string, step Step) // optional

	once   sync.Once // the person is asked once for all
	secret string
	asked  error
}

// Rotated is what became of the key of one target, as far as it is known.
type Rotated struct {
	Target  string
	Old     string // fingerprint
	New     string
	NewFile string
	Resumed bool // an earlier call was broken off, and this one went on
	KeptOld bool // the old line still stands
	Notes   []string
	AuditID string
}

// lastWord bounds what must still be done after the caller left: taking back.
const lastWord = 30 * time.Second

// Rotate gives target a new key. A nil error means that a login with the new key alone
// was seen, that the configuration names it, and that the old line is gone unless
// KeptOld says why not. With an error the key in use still works; where the same call
// can go on, the hint says so.
func (k *Keeper) Rotate(ctx context.Context, name string, how *Rotation) (Rotated, error) {
	res := Rotated{Target: name}
	t, err := k.cfg.Target(name)
	if err == nil && t.Kind != target.SSH {
		err = diag.New(diag.Usage, "", "", "a target of type %s has no SSH key", t.Kind)
	}
	if err != nil {
		return res, k.refused(ctx, "keys.rotate", name, withOp("rotate the key of "+name, err))
	}
	res.Target = t.Name
	mu := k.account(t)
	mu.Lock()
	defer mu.Unlock()
	r := &rotating{k: k, how: how, t: t, res: &res}
	if r.given = how.NewKey; r.given != "" {
		if r.given, err = k.path(r.given); err != nil {
			return res, err
		}
	}
	id, err := k.cfg.Recorder.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: "keys.rotate", Target: t.Name}})
	if err != nil {
		return res, err
	}
	res.AuditID = id
	err = r.run(ctx)
	out := audit.Outcome{Subject: r.subject, Err: err}
	out.Digests = map[string]string{}
	for what, sum := range map[string]string{"old_key": res.Old, "new_key": res.New} {
		if sum != "" {
			out.Digests[what] = sum
		}
	}
	// There is an outcome to keep now, even for a caller who left.
	return res, errors.Join(withOp("rotate the key of "+t.Name, err), k.cfg.Recorder.End(context.WithoutCancel(ctx), id, out))
}

// withOp says what was attempted.
func withOp(op string, err error) error {
	d, ok := errors.AsType[*diag.Error](err)
	if !ok {
		if err == nil {
			return nil
		}
		return diag.New(diag.Failure, op, "", "%w", err)
	}
	return diag.New(d.Kind, op, d.Hint, "%w", err)
}

// rotating is one rotation under way.
type rotating struct {
	k       *Keeper
	how     *Rotation
	t       target.Target
	res     *Rotated
	note    note
	subject audit.Subject
	given   string // path of the caller's new key, or ""

	old, successor gossh.PublicKey
	secret         string // passphrase of the new key, if we chose it
}

func (r *rotating) run(ctx context.Context) error {
	if err := os.MkdirAll(r.k.cfg.State, 0o700); err != nil {
		return err
	}
	lock, err := durable.Lock(ctx, r.k.noteFile(r.t.Name)+".lock")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if r.t, err = r.k.cfg.Target(r.t.Name); err != nil { // another process may have changed it
		return err
	}
	conn, err := r.k.cfg.Dial(ctx, r.t)
	if err != nil {
		return r.goOn(err)
	}
	defer conn.Close()
	info := conn.Info()
	r.subject = audit.Subject{Address: info.Address, Login: info.Login, HostKey: info.Fingerprint, KeyID: info.KeyID}
	if err := r.begin(ctx, conn); err != nil {
		return err
	}
	if err := r.makeKey(ctx); err != nil {
		return err
	}
	if err := r.add(ctx, conn); err != nil {
		return err
	}
	proof, err := r.prove(ctx, conn)
	if err != nil {
		return err
	}
	defer proof.Close()
	if err := r.store(ctx, conn); err != nil {
		return err
	}
	if err := r.retireOld(ctx, proof); err != nil {
		return err
	}
	return r.k.forgetNote(r.t.Name)
}

func (r *rotating) done(s Step) {
	if r.how.Progress != nil {
		r.how.Progress(r.t.Name, s)
	}
}

// goOn says that the same call finishes what this one could not.
func (r *rotating) goOn(err error) error {
	if _, statErr := os.Lstat(r.k.noteFile(r.t.Name)); statErr != nil {
		return err
	}
	return diag.New(diag.KindOf(err), "", strings.TrimPrefix(diag.HintOf(err)+"\nrun the same command again to go on: 'bowline keys rotate -t "+r.t.Name+"'", "\n"), "%w", err)
}

// begin finds the rotation that was broken off, or notes a new one. Nothing has changed
// on the target before it returns.
func (r *rotating) begin(ctx context.Context, conn transport.Conn) error {
	n, found, err := r.k.load(r.t)
	if err != nil {
		return err
	}
	if found {
		r.note, r.res.Resumed, r.res.NewFile = n, true, n.NewFile
		if r.given != "" && r.given != n.NewFile {
			return diag.New(diag.Usage, "", "finish it first: 'bowline keys rotate -t "+r.t.Name+"'", "an earlier rotation to the key %s was broken off", n.NewFile)
		}
		r.old, err = parse(n.Old)
		if err == nil {
			r.res.Old = gossh.FingerprintSHA256(r.old)
		}
		return err
	}
	data, err := readKeys(ctx, conn)
	if err != nil {
		return err
	}
	id := conn.Info().KeyID
	r.old = authkeys.Find(data, id)
	if r.old == nil {
		return diag.New(diag.Refused, "", "see what sshd reads, on the target: 'sshd -T | grep -i authorizedkeys'; Bowline rotates keys of ~/.ssh/authorized_keys alone",
			"the key that logged in (%s) has no line of its own in ~/.ssh/authorized_keys: it is accepted from another file, by a certificate, or not a key at all; nothing was changed", orNone(id))
	}
	r.res.Old = id
	r.note = note{Version: noteVersion, Target: r.t.Name, Account: address(r.t).String(), Since: r.k.cfg.Now(), KeepOld: r.how.KeepOld,
		Old: authkeys.Line("", r.old, ""), NewFile: r.given}
	if r.note.NewFile == "" {
		r.note.Made = true
		if r.note.NewFile, err = freeName(r.k.cfg.Dir, r.t.Name, r.k.cfg.Now()); err != nil {
			return err
		}
	}
	r.res.NewFile = r.note.NewFile
	if err := r.checkGiven(); err != nil {
		return err
	}
	if err := r.k.save(r.note); err != nil {
		return err
	}
	r.done(Noted)
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// checkGiven refuses a new key that cannot be one, before anything is noted.
func (r *rotating) checkGiven() error {
	if r.note.Made {
		return nil
	}
	key, err := ssh.ReadKey(r.note.NewFile)
	if err != nil {
		return err
	}
	if key.Public == nil {
		return diag.New(diag.Usage, "", "write its public half beside it: 'ssh-keygen -y -f "+key.File+" > "+key.File+".pub'", "%s is encrypted in a format that hides which key it is", key.File)
	}
	if key.Fingerprint() == r.res.Old {
		return diag.New(diag.Usage, "", "make another: 'bowline keys create NAME'", "%s is the key in use", key.File)
	}
	return nil
}

// makeKey makes the new key, or finds it made.
func (r *rotating) makeKey(ctx context.Context) error {
	key, err := ssh.ReadKey(r.note.NewFile)
	if err != nil && r.note.New != "" {
		return diag.New(diag.KindOf(err), "", "bring the file back, or forget the rotation with 'rm "+r.k.noteFile(r.t.Name)+"' and take the line of the lost key out on the target",
			"the new key of a rotation that was broken off cannot be read: %w", err)
	}
	if err != nil && r.note.Made {
		// What stands there was broken off while it was written, and never used.
		for _, p := range []string{r.note.NewFile, r.note.NewFile + ".pub"} {
			if rmErr := os.Remove(p); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
				return rmErr
			}
		}
		if r.secret, err = r.passphrase(ctx); err != nil {
			return errors.Join(err, r.k.forgetNote(r.t.Name))
		}
		key, err = write(r.note.NewFile, comment(r.t.Name, r.k.cfg.Now()), r.secret)
	}
	if err != nil {
		return err
	}
	if _, statErr := os.Lstat(key.File + ".pub"); r.note.Made && errors.Is(statErr, fs.ErrNotExist) {
		if err := writePublic(key.File, key.Public, comment(r.t.Name, r.k.cfg.Now())); err != nil {
			return err
		}
	}
	r.successor, r.res.New = key.Public, key.Fingerprint()
	text := authkeys.Line("", key.Public, "")
	if r.note.New != "" && r.note.New != text {
		return diag.New(diag.Conflict, "", "bring the key back that the note names, or forget the rotation with 'rm "+r.k.noteFile(r.t.Name)+"'",
			"%s is another key now than when the rotation began", r.note.NewFile)
	}
	r.note.New = text
	if err := r.k.save(r.note); err != nil {
		return err
	}
	r.done(Made)
	return nil
}

// passphrase is that of a new key.
func (r *rotating) passphrase(ctx context.Context) (string, error) {
	switch r.how.Passphrase {
	case None:
		return "", nil
	case LikeOld:
		if r.t.KeyFile != "" {
			if key, err := ssh.ReadKey(r.t.KeyFile); err == nil && key.Private && !key.Encrypted {
				return "", nil
			}
		}
	}
	r.how.once.Do(func() {
		r.how.secret, r.how.asked = askPassphrase(ctx, r.k.cfg.Prompt, "the new keys")
	})
	return r.how.secret, r.how.asked
}

// add puts the new line beside the old one.
func (r *rotating) add(ctx context.Context, conn transport.Conn) error {
	_, err := editKeys(ctx, conn, func(data []byte) ([]byte, error) {
		if r.res.Resumed && !authkeys.Has(data, r.old) && authkeys.Has(data, r.successor) {
			return data, nil // all was done before
		}
		return authkeys.Succeed(data, r.old, r.successor, r.commentOfNew())
	})
	switch {
	case err == nil:
		r.done(Added)
		return nil
	case errors.Is(err, authkeys.ErrNoOld):
		return diag.New(diag.Conflict, "", "look at ~/.ssh/authorized_keys on the target", "the line of the key in use is gone: %w", err)
	case errors.Is(err, authkeys.ErrOtherOptions):
		return errors.Join(diag.New(diag.Conflict, "", "make the lines of both keys alike in ~/.ssh/authorized_keys on the target, or take another key", "%w; nothing was changed", err),
			r.forgetUnused())
	case diag.KindOf(err) == diag.Lost || diag.KindOf(err) == diag.Canceled:
		return r.goOn(err)
	}
	return errors.Join(err, r.forgetUnused())
}

func (r *rotating) commentOfNew() string {
	if key, err := ssh.ReadKey(r.note.NewFile); err == nil && key.Comment != "" {
		return key.Comment
	}
	return comment(r.t.Name, r.k.cfg.Now())
}

// forgetUnused forgets a rotation whose new key is in no account.
func (r *rotating) forgetUnused() error {
	var errs []error
	if r.note.Made {
		for _, p := range []string{r.note.NewFile, r.note.NewFile + ".pub"} {
			if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		r.res.NewFile = ""
	}
	return errors.Join(append(errs, r.k.forgetNote(r.t.Name))...)
}

// withNew is the target as it shall be.
func (r *rotating) withNew() target.Target {
	t := r.t.Clone()
	t.KeyFile = r.note.NewFile
	return t
}

// prove logs in with the new key alone. Where sshd does not take it, all is taken back.
func (r *rotating) prove(ctx context.Context, conn transport.Conn) (transport.Conn, error) {
	proof, err := r.k.cfg.Prove(ctx, r.withNew(), r.secret)
	if err == nil {
		if got := proof.Info(); got.KeyID != r.res.New || got.Login != conn.Info().Login || got.Fingerprint != conn.Info().Fingerprint {
			_ = proof.Close()
			err = diag.New(diag.Denied, "", "", "the new connection logged in as %s with key %s, not as %s with the new key", got.Login, orNone(got.KeyID), conn.Info().Login)
		} else {
			r.done(Proven)
			return proof, nil
		}
	}
	if diag.KindOf(err) != diag.Denied || r.t.KeyFile == r.note.NewFile {
		return nil, r.goOn(err) // nothing is known of the new key, or there is no other
	}
	if undoErr := r.takeBack(ctx, conn); undoErr != nil {
		return nil, r.goOn(diag.New(diag.Denied, "", "", "the new key is not accepted: %w; and its line could not be taken back: %w; the key in use still works", err, undoErr))
	}
	return nil, diag.New(diag.Denied, "", "see what sshd reads, on the target: 'sshd -T | grep -i -e authorizedkeys -e pubkeyaccepted'",
		"the new key is not accepted although its line is in ~/.ssh/authorized_keys; sshd may read another file (AuthorizedKeysFile). The line was taken back, the key in use still works: %w", err)
}

// takeBack removes the new line and everything that was made for it.
func (r *rotating) takeBack(ctx context.Context, conn transport.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
	defer cancel()
	if _, err := editKeys(ctx, conn, func(data []byte) ([]byte, error) {
		out, _ := authkeys.Without(data, r.successor)
		return out, nil
	}); err != nil {
		return err
	}
	return r.forgetUnused()
}

// store makes the configuration name the new key.
func (r *rotating) store(ctx context.Context, conn transport.Conn) error {
	if r.t.KeyFile != r.note.NewFile {
		before := r.t.KeyFile
		now, err := r.k.cfg.Target(r.t.Name)
		if err == nil && (address(now) != address(r.t) || now.KeyFile != before) {
			err = diag.New(diag.Conflict, "", "", "the target was changed in the configuration meanwhile")
		}
		if err == nil {
			now.KeyFile = r.note.NewFile
			err = r.k.cfg.Update(ctx, now)
		}
		if err != nil && !errors.Is(err, durable.ErrNotSynced) {
			undoErr := r.takeBack(ctx, conn)
			if undoErr != nil {
				return r.goOn(errors.Join(err, undoErr))
			}
			return diag.New(diag.KindOf(err), "", diag.HintOf(err), "the configuration does not take the new key; its line was taken back, the key in use still works: %w", err)
		}
	}
	r.k.cfg.Forget(ctx, r.t)
	r.done(Stored)
	return nil
}

// retireOld takes the old line out, over a connection that the new key opened, and
// proves that the new key still logs in.
func (r *rotating) retireOld(ctx context.Context, proof transport.Conn) error {
	others := r.k.others(r.withNew(), r.res.Old)
	switch {
	case r.note.KeepOld || r.how.KeepOld:
		r.res.KeptOld = true
		r.res.Notes = append(r.res.Notes, "the old key still logs in; take it out with 'bowline keys retire "+r.res.Old+" -t "+r.t.Name+"'")
		return nil
	case len(others) > 0:
		r.res.KeptOld = true
		r.res.Notes = append(r.res.Notes, "the old key still logs in, as "+strings.Join(others, ", ")+" uses it for the same account; rotate that too")
		return nil
	}
	before, err := editKeys(ctx, proof, func(data []byte) ([]byte, error) {
		if !authkeys.Has(data, r.successor) {
			return nil, diag.New(diag.Conflict, "", "", "the line of the new key is gone from ~/.ssh/authorized_keys; the old line was left")
		}
		out, _ := authkeys.Without(data, r.old)
		return out, nil
	})
	if err != nil {
		return r.goOn(err)
	}
	again, err := r.k.cfg.Prove(ctx, r.withNew(), r.secret)
	if err != nil {
		return r.goOn(r.k.putBack(ctx, proof, before, r.old, err))
	}
	_ = again.Close()
	r.done(Removed)
	if r.t.KeyFile == "" {
		r.res.Notes = append(r.res.Notes, "the old key came from ssh-agent or ssh_config; it stays there")
	}
	return nil
}

// putBack restores the lines of key after a login failed without them.
func (k *Keeper) putBack(ctx context.Context, conn transport.Conn, before []byte, key gossh.PublicKey, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
	defer cancel()
	_, err := editKeys(ctx, conn, func(data []byte) ([]byte, error) {
		without, _ := authkeys.Without(before, key)
		if string(data) != string(without) {
			return nil, fmt.Errorf("~/.ssh/authorized_keys was changed meanwhile; put the line of %s back by hand", gossh.FingerprintSHA256(key))
		}
		return before, nil
	})
	if err != nil {
		return diag.New(diag.Partial, "", "", "the old line was taken out, then no login was seen: %w; and it could not be put back: %w", why, err)
	}
	return diag.New(diag.KindOf(why), "", diag.HintOf(why), "after the old line was taken out no login was seen; it was put back: %w", why)
}

// others names targets of the same account, besides t, that may log in with the key of
// that fingerprint.
func (k *Keeper) others(t target.Target, fingerprint string) []string {
	var names []string
	for _, o := range k.cfg.Targets() {
		if o.Name == t.Name || o.Kind != target.SSH || address(o) != address(t) {
			continue
		}
		key, err := ssh.ReadKey(o.KeyFile)
		if o.KeyFile == "" || err != nil || key.Public == nil || key.Fingerprint() == fingerprint {
			names = append(names, o.Name)
		}
	}
	return names
}

// Waiting names the targets whose rotation was broken off.
func (k *Keeper) Waiting() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(k.cfg.State, "*.json"))
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	return names, err
}
