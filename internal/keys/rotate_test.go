package keys_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	gossh "golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/keys"
	"github.com/bowline-sh/bowline/internal/testkit"
)

func TestRotate(t *testing.T) {
	for _, login := range []string{"own", "ordinary"} {
		t.Run(login, func(t *testing.T) {
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
	for _, step := range []keys.Step{keys.Noted, keys.Made, keys.Added, keys.Proven, keys.Stored, keys.Removed} {
		t.Run(string(step), func(t *testing.T) {
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
