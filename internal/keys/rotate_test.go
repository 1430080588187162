//go:build unix

package keys_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	gossh "golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/keys"
	"github.com/bowline-sh/bowline/internal/testkit"
)

func TestRotate(t *testing.T) {
	t.Parallel()
	for _, login := range []string{"own", "ordinary"} {
		t.Run(login, func(t *testing.T) {
			t.Parallel()
			var options []testkit.SSHDOption
			if login == "ordinary" {
				options = append(options, testkit.LoginUser(testkit.User(t)))
			}
			w := newWorld(t, "none", options...)
			other := testkit.NewKey(t, filepath.Join(t.TempDir(), "other"), "rsa")
			w.put("# head\n" + w.line(other) + " other\n" + `restrict,command="",environment="A=\"x y\"" ` + w.line(gossh.PublicKey(other)) + "\nrestrict,pty " + w.line(w.server.ClientPublicKey) + " me\n\n# tail")
			must(t, os.Chmod(w.path(), 0o640))
			if login == "ordinary" {
				w.chown(w.server.User)
			}
			before := w.get()
			res := w.rotate("web1", &keys.Rotation{})
			want := strings.Replace(before, w.line(w.server.ClientPublicKey)+" me", w.line(w.public(res.NewFile))+" bowline web1 ", 1)
			got := w.get()
			if i := strings.Index(got, " bowline web1 "); i < 0 || got[:i]+" bowline web1 "+got[strings.Index(got[i:], "\n")+i:] != want {
				t.Errorf("authorized_keys is\n%s\nwant (but for the time)\n%s", got, want)
			}
			if info, err := os.Stat(w.path()); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if info, err := os.Stat(res.NewFile); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode of the new key: %v, %v", info.Mode(), err)
			}
			text, err := os.ReadFile(w.file)
			if err != nil || !strings.Contains(string(text), "key_file = \""+res.NewFile+"\" # which key") || !strings.Contains(string(text), "# of web1\n[targets.web1] # here") {
				t.Errorf("config.toml is\n%s", text)
			}
			w.tidy()
			// And once more, from the new key.
			if again := w.rotate("web1", &keys.Rotation{}); again.Old != res.New || again.NewFile == res.NewFile {
				t.Errorf("%+v after %+v", again, res)
			}
		})
	}
}

// TestKilledAtEveryStep: the same call goes on, and nothing is left of the first.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, step := range []keys.Step{keys.Noted, keys.Made, keys.Added, keys.Proven, keys.Stored, keys.Removed} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "none")
			must(t, w.log.Close()) // the child writes to it
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "KEYS_DIR="+w.dir, "KEYS_STEP="+string(step))
			out, err := cmd.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("%v: %s", err, out)
			}
			c, err := newClient(w.dir, "none")
			must(t, err)
			w.client = c
			if step == keys.Noted || step == keys.Made || step == keys.Added || step == keys.Proven {
				w.oldWorks()
			}
			res := w.rotate("web1", &keys.Rotation{})
			if !res.Resumed {
				t.Error("it began anew")
			}
			if got := w.get(); strings.Count(got, "ssh-ed25519") != 1 || !strings.Contains(got, w.line(w.public(w.keyFile("web1")))) || !strings.HasPrefix(got, "# mine\n") {
				t.Errorf("authorized_keys is\n%s", got)
			}
			list, err := filepath.Glob(filepath.Join(w.dir, "keys", "*"))
			if err != nil || len(list) != 2 {
				t.Errorf("keys: %q, %v", list, err)
			}
			w.tidy()
		})
	}
}

// TestOtherAuthorizedKeysFile: sshd reads another file, and ~/.ssh/authorized_keys only
// looks as if it were used. What was added is taken back.
func TestOtherAuthorizedKeysFile(t *testing.T) {
	t.Parallel()
	elsewhere := filepath.Join(testkit.Dir(t), "keys")
	w := newWorld(t, "none", testkit.ConfigLines("AuthorizedKeysFile "+elsewhere))
	before := w.get()
	must(t, os.WriteFile(elsewhere, []byte(before), 0o600))
	_, err := w.Rotate(t.Context(), "web1", &keys.Rotation{})
	refused(t, err, diag.Denied, "AuthorizedKeysFile", "taken back", "still works")
	if got := w.get(); got != before {
		t.Errorf("authorized_keys is\n%s", got)
	}
	w.oldWorks()
	w.tidy()
	if list, err := filepath.Glob(filepath.Join(w.dir, "keys", "*")); err != nil || len(list) != 0 {
		t.Errorf("keys left: %q, %v", list, err)
	}
	// The key in use stands nowhere in it: nothing is even tried.
	w.put("# nobody\n")
	_, err = w.Rotate(t.Context(), "web1", &keys.Rotation{})
	refused(t, err, diag.Refused, "another file", "nothing was changed")
	w.tidy()
}

func refused(t *testing.T, err error, kind diag.Kind, words ...string) {
	t.Helper()
	if diag.KindOf(err) != kind {
		t.Errorf("kind %q, want %q: %v", diag.KindOf(err), kind, err)
	}
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error()+diag.HintOf(err), word) {
			t.Errorf("%v (hint %q) does not say %q", err, diag.HintOf(err), word)
		}
	}
}

// verbs lists the entries of the log.
func (w *world) entries() []audit.Entry {
	w.t.Helper()
	var out []audit.Entry
	for e, err := range audit.NewReader(filepath.Join(w.dir, "audit"), filepath.Join(w.dir, "head.json")).List(w.t.Context(), audit.Filter{}) {
		must(w.t, err)
		out = append(out, e)
	}
	return out
}

// TestConfigurationRefuses: what was added is taken back.
func TestConfigurationRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	before := w.get()
	w.client.refuse = func() error { return diag.New(diag.Usage, "update", "", "by hand") }
	_, err := w.Rotate(t.Context(), "web1", &keys.Rotation{})
	refused(t, err, diag.Usage, "by hand", "taken back")
	if got := w.get(); got != before {
		t.Errorf("authorized_keys is\n%s", got)
	}
	w.oldWorks()
	w.tidy()
}

// TestAccountRefused: what is not the account's own plain file is not touched.
func TestAccountRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(w *world){
		"file is a link": func(w *world) {
			must(t, os.Rename(w.path(), w.path()+"2"))
			must(t, os.Symlink("authorized_keys2", w.path()))
		},
		"directory is a link": func(w *world) {
			must(t, os.Rename(filepath.Dir(w.path()), filepath.Join(w.home, "dotfiles")))
			must(t, os.Symlink("dotfiles", filepath.Dir(w.path())))
		},
		"others can write": func(w *world) { must(t, os.Chmod(filepath.Dir(w.path()), 0o777)) },
		"huge": func(w *world) {
			f, err := os.OpenFile(w.path(), os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			must(t, errors.Join(f.Truncate(8<<20), f.Close()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "none")
			spoil(w)
			_, err := w.Rotate(t.Context(), "web1", &keys.Rotation{})
			word := "nothing was touched"
			if strings.HasSuffix(name, "link") {
				word = "symbolic link"
			} else if name == "huge" {
				word = "bytes"
			}
			refused(t, err, diag.Refused, word)
			w.oldWorks()
			if _, err := os.Lstat(filepath.Join(w.dir, "rotations", "web1.json")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a rotation was noted: %v", err)
			}
		})
	}
}

func TestKeepOldThenRetire(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	res := w.rotate("web1", &keys.Rotation{KeepOld: true})
	if !res.KeptOld || strings.Count(w.get(), "ssh-ed25519") != 2 {
		t.Errorf("%+v\n%s", res, w.get())
	}
	// The key in use is not retired.
	_, err := w.Retire(t.Context(), "web1", res.New)
	refused(t, err, diag.Refused, "the configuration names this key")
	out, err := w.Retire(t.Context(), "web1", res.Old)
	if err != nil || out.Lines != 1 || strings.Count(w.get(), "ssh-ed25519") != 1 {
		t.Errorf("%+v, %v\n%s", out, err, w.get())
	}
	if out, err = w.Retire(t.Context(), "web1", res.Old); err != nil || out.Lines != 0 {
		t.Errorf("again: %+v, %v", out, err)
	}
	w.tidy()
	// One key more, of nobody here, goes as well.
	path := filepath.Join(t.TempDir(), "k")
	extra := testkit.NewKey(t, path, "ed25519")
	w.put(w.get() + "restrict " + w.line(extra) + "\n")
	id, err := w.Fingerprint(path)
	must(t, err)
	if out, err = w.Retire(t.Context(), "web1", id); err != nil || out.Lines != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestSameAccount: two targets of one account keep each other's way in, whichever is
// rotated first, also at the same time.
func TestSameAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	w.configure("web1b", w.server.ClientKeyFile)
	_, err := w.Retire(t.Context(), "web1", gossh.FingerprintSHA256(w.server.ClientPublicKey))
	refused(t, err, diag.Refused)
	var both sync.WaitGroup
	for _, name := range []string{"web1", "web1b"} {
		both.Go(func() {
			if _, err := w.Rotate(t.Context(), name, &keys.Rotation{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	both.Wait()
	got := w.get()
	for _, name := range []string{"web1", "web1b"} {
		if !strings.Contains(got, w.line(w.public(w.keyFile(name)))) {
			t.Errorf("%s is locked out:\n%s", name, got)
		}
	}
	if strings.Contains(got, w.line(w.server.ClientPublicKey)) {
		t.Errorf("the old key is still there:\n%s", got)
	}
	w.tidy()
}

func TestNewKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	_, err := w.Rotate(t.Context(), "web1", &keys.Rotation{NewKey: w.server.ClientKeyFile})
	refused(t, err, diag.Usage, "is the key in use")
	_, err = w.Rotate(t.Context(), "web1", &keys.Rotation{NewKey: "absent"})
	refused(t, err, diag.Denied, "no such file")
	w.tidy()
	key, err := w.Create(t.Context(), "deploy", false)
	must(t, err)
	if _, err := w.Create(t.Context(), "deploy", false); diag.KindOf(err) != diag.Usage {
		t.Errorf("a second key of the name: %v", err)
	}
	if res := w.rotate("web1", &keys.Rotation{NewKey: "deploy"}); res.New != key.Fingerprint() || w.keyFile("web1") != key.File {
		t.Errorf("%+v", res)
	}
	_, err = w.Create(t.Context(), "../x y", true)
	refused(t, err, diag.Usage, "nobody can be asked")
}

// TestAgent: a new key whose private half only the agent has; and an old one that is
// held by the agent needs a decision about its passphrase.
func TestAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pub := testkit.NewKey(t, filepath.Join(dir, "held"), "ed25519")
	a := testkit.Agent(t, filepath.Join(dir, "held"))
	must(t, os.Remove(filepath.Join(dir, "held")))
	w := newWorld(t, a.Socket)
	res := w.rotate("web1", &keys.Rotation{NewKey: filepath.Join(dir, "held.pub")})
	if res.New != gossh.FingerprintSHA256(pub) || strings.Count(w.get(), "ssh-ed25519") != 1 {
		t.Errorf("%+v\n%s", res, w.get())
	}
	list, err := w.List(t.Context(), must2(w.config())(t).Targets())
	must(t, err)
	if len(list) != 1 || !list[0].Agent || list[0].Fingerprint != res.New {
		t.Errorf("%+v", list)
	}
	_, err = w.Rotate(t.Context(), "web1", &keys.Rotation{})
	refused(t, err, diag.Usage, "--no-passphrase")
	w.tidy()
	w.rotate("web1", &keys.Rotation{Passphrase: keys.None})
}

func must2[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// TestRecorded: the intent is on record before the target is touched, with both keys
// by fingerprint; without a record nothing happens.
func TestRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	var seen []audit.Entry
	res := w.rotate("web1", &keys.Rotation{Progress: func(_ string, s keys.Step) {
		if s == keys.Noted {
			seen = w.entries()
		}
	}})
	if len(seen) != 1 || seen[0].Verb != "keys.rotate" || seen[0].Event != audit.EventIntent || seen[0].Target != "web1" {
		t.Errorf("%+v", seen)
	}
	for _, e := range w.entries() {
		if e.Event == audit.EventOutcome && (e.Digests["old_key"] != res.Old || e.Digests["new_key"] != res.New || e.KeyID != res.Old || e.Result.Status != audit.OK) {
			t.Errorf("%+v", e)
		}
	}
	if _, err := w.Rotate(t.Context(), "nobody", &keys.Rotation{}); diag.KindOf(err) != diag.Usage || w.entries()[0].Target != "nobody" {
		t.Errorf("%v, and on record is %+v", err, w.entries()[0])
	}
	before := w.get()
	must(t, w.log.Close())
	if _, err := w.Rotate(t.Context(), "web1", &keys.Rotation{}); err == nil || w.get() != before {
		t.Errorf("%v\n%s", err, w.get())
	}
	c, err := newClient(w.dir, "none")
	must(t, err)
	w.client = c
}

// TestSweepsTemporaries: what a killed client left beside the file goes.
func TestSweepsTemporaries(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	must(t, os.WriteFile(filepath.Join(w.home, ".ssh/.authorized_keys.bowline-new-X"), []byte("x"), 0o600))
	w.rotate("web1", &keys.Rotation{})
	w.tidy()
}

// TestPassphrase: the key in use has one, so the new one gets one, which is asked for
// once for all targets, and twice to be sure.
func TestPassphrase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	path := filepath.Join(t.TempDir(), "enc")
	pub := testkit.EncryptedKey(t, path, "old secret")
	w.put(w.line(pub) + "\n")
	must(t, os.Remove(w.file))
	w.configure("web1", path)
	var asked []string
	w.client.prompt = func(question string) string {
		asked = append(asked, question)
		if strings.Contains(question, "enc") {
			return "old secret"
		}
		return "new secret"
	}
	how := &keys.Rotation{}
	res := w.rotate("web1", how)
	data, err := os.ReadFile(res.NewFile)
	must(t, err)
	if _, err := gossh.ParsePrivateKey(data); !errors.As(err, new(*gossh.PassphraseMissingError)) {
		t.Errorf("the new key is not encrypted: %v", err)
	}
	if _, err := gossh.ParsePrivateKeyWithPassphrase(data, []byte("new secret")); err != nil {
		t.Error(err)
	}
	news := 0
	for _, q := range asked {
		if strings.Contains(q, "new passphrase") {
			news++
		}
	}
	if news != 1 {
		t.Errorf("asked %q", asked)
	}
	w.tidy()
	for _, e := range w.entries() {
		if strings.Contains(string(e.Raw()), "secret") {
			t.Errorf("on record: %s", e.Raw())
		}
	}
}
