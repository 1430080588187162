package sandbox_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/profile"
)

func TestMasks(t *testing.T) {
	onEveryHost(t, func(t *testing.T, h sandboxtest.Host) { masks(t, h.Dial(t)) })
}

// tree makes files by path; a text that starts with "->" makes a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := testkit.Dir(t)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(strings.ReplaceAll(to, "DIR", dir), path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// masks hides paths with all sorts of names, below a bind whose source and
// target differ, and reads everything that is left.
func masks(t *testing.T, conn transport.Conn) {
	t.Helper()
	dir := tree(t, map[string]string{
		"plain/f": "SECRET", "file": "SECRET", "a b/f": "SECRET", "*/f": "SECRET", "[x]/f": "SECRET", "-dash/f": "SECRET", "q'\"\\$(id)`/f": "SECRET",
		"u1/.ssh/id": "SECRET", "u 2/.ssh/id": "SECRET", "new\nline/.ssh/id": "SECRET", "linked": "->u3", "u3/.ssh/id": "SECRET", "u4/.ssh": "->../u5/keys", "u5/keys/id": "SECRET",
		"u6/.ssh": "->.ssh", "u7/.ssh": "->/nosuch/x", "u8/.ssh": "->/usr/share/doc", "u9/.ssh/public": "SEEN", "ax/f": "SEEN", "x/f": "SEEN", "u1/other": "SEEN",
		"zzz": "SECRET",
	})
	p := sandboxtest.Builtin(t, "script")
	p.Binds = append(p.Binds, profile.Bind{Source: dir, Target: "/data/t", ReadOnly: true},
		profile.Bind{Source: dir + "/u9/.ssh/public", Target: "/data/t/u9/.ssh/public", ReadOnly: true})
	for _, h := range []string{"plain", "file", "a b", "[x]", "-dash", "q'\"\\$(id)`", "*/.ssh", "zzz"} {
		p.Hide = append(p.Hide, "/data/t/"+h)
	}
	cmd := sandbox.Command{Spec: sandbox.Spec{Profile: p, Argv: []string{"sh", "-c", `grep -rh . /data/t 2>/dev/null | sort | uniq -c | tr -s " "`}}}
	o := ran(t, try(t.Context(), conn, cmd))
	// The directory called "*" cannot be hidden by name: in hide it is a pattern.
	if o.out != " 1 SECRET\n 4 SEEN\n" {
		cmd.Argv[2] = "grep -r SE /data/t; ls -la /data/t"
		t.Errorf("inside: %q\n%s", o.out, ran(t, try(t.Context(), conn, cmd)).out)
	}
}

// TestWholeRoot binds all of "/": what is hidden by default is hidden then.
func TestWholeRoot(t *testing.T) {
	home := tree(t, map[string]string{".ssh/id": "SECRET", ".aws/credentials": "SECRET", ".netrc": "SECRET", "seen": "SEEN"})
	link := fmt.Sprintf("/home/bowline-link-%d", os.Getpid())
	if err := os.Symlink(home, link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(link) }) // a leftover only costs a name
	looping := account(t, "/bin/sh", map[string]string{".gnupg/key": "SECRET", "seen": "SEEN"})
	// A link that leads nowhere must not end the list of masks (regression: it
	// did, and took the seccomp filter with it).
	if err := os.Symlink(".ssh", filepath.Join("/home", looping, ".ssh")); err != nil {
		t.Fatal(err)
	}
	p := profile.Profile{Name: "root", ClearEnv: true, NetworkIsolation: true, UserNamespaceIsolation: true,
		Binds: []profile.Bind{{Source: "/", Target: "/", ReadOnly: true}, {Source: "/etc", Target: "/srv", ReadOnly: true}, {Source: "/home/" + looping, Target: "/home/" + looping, ReadOnly: true}},
	}
	text := strings.NewReplacer("LINK", link, "REAL", home, "LOOPING", "/home/"+looping).Replace(`
		for f in /etc/shadow /srv/shadow /etc/gshadow /srv/gshadow LINK/.ssh/id REAL/.ssh/id LINK/.aws/credentials LINK/.netrc REAL/.netrc LOOPING/.gnupg/key; do
			cat $f 2>/dev/null | head -c 100 && :
		done
		ls -A /run /var/run/ /root/.ssh LOOPING/.gnupg 2>/dev/null | grep -v ":$" | grep .
		cat LINK/seen LOOPING/seen
		grep Seccomp: /proc/self/status`)
	onEveryHost(t, func(t *testing.T, h sandboxtest.Host) {
		cmd := sandbox.Command{Spec: sandbox.Spec{Profile: p, Argv: []string{"sh", "-c", text}}}
		if o := ran(t, try(t.Context(), h.Dial(t), cmd)); o.out != "SEENSEENSeccomp:\t2\n" {
			t.Errorf("inside: %q %q", o.out, o.log)
		}
	})
}

// TestRootReads: as root, what belongs to root can be read under readonly, and
// what belongs to others only if they let everybody: no capability is kept.
func TestRootReads(t *testing.T) {
	dir := testkit.Dir(t)
	uid := [4]int{0, 65534, 65534, 0}
	for i, mode := range []os.FileMode{0o600, 0o600, 0o644, 0o644} {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(fmt.Sprint(i)), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid[i], uid[i]); err != nil {
			t.Fatal(err)
		}
	}
	p := sandboxtest.Builtin(t, "readonly")
	p.Binds = append(p.Binds, profile.Bind{Source: dir, Target: "/data", ReadOnly: true})
	for _, isolated := range []bool{true, false} {
		p.UserNamespaceIsolation = isolated
		onEveryHost(t, func(t *testing.T, h sandboxtest.Host) {
			if !h.Root {
				return
			}
			cmd := sandbox.Command{Spec: sandbox.Spec{Profile: p, Argv: []string{"sh", "-c", "cat /data/* 2>/dev/null"}}}
			if o := ran(t, try(t.Context(), h.Dial(t), cmd)); o.out != "023" {
				t.Errorf("user namespace %v: read %q, want files 0, 2 and 3", isolated, o.out)
			}
		})
	}
}
