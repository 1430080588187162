//go:build linux

package apply

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/safepath"
	"github.com/bowline-sh/bowline/plan"
	"github.com/google/go-cmp/cmp"
)

// node is one path of a picture of a tree: its state, and the first path that is
// the same inode.
type node struct {
	State change.State
	Same  string
}

// picture takes everything of a tree, exactly.
func picture(t testing.TB, root string) map[string]node {
	t.Helper()
	r, err := safepath.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, first := map[string]node{}, map[uint64]string{}
	err = filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := "/" + strings.TrimPrefix(strings.TrimPrefix(p, root), "/")
		info, err := r.Stat(change.Path(rel), true)
		if err != nil {
			return err
		}
		same := ""
		if info.Type != change.Dir {
			if f, ok := first[info.ID.Ino]; ok {
				same = f
			} else {
				first[info.ID.Ino] = rel
			}
		}
		out[rel] = node{info.State, same}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantTree(t testing.TB, root string, want map[string]node) {
	t.Helper()
	if d := cmp.Diff(want, picture(t, root)); d != "" {
		t.Helper()
		t.Fatalf("tree differs (-want +got):\n%s", d)
	}
}

// wantApplied is wantTree without the times that the plan does not name: that of
// the root, and of a directory that got or lost an entry but had the same time
// before and after. Clocks of file systems are coarse, so that happens.
func wantApplied(t testing.TB, f *fixture) {
	t.Helper()
	want, got := maps.Clone(f.after), picture(t, f.host)
	unnamed := map[string]bool{"/": true}
	for _, st := range f.plan.Stretches() {
		for _, c := range st.Changes {
			if c.Kind() != change.Metadata {
				unnamed[filepath.Dir(string(c.Path))] = true
			}
		}
		for _, c := range st.Changes {
			delete(unnamed, string(c.Path))
		}
	}
	for p := range unnamed {
		if n, ok := want[p]; ok && n.State.Type == change.Dir {
			n.State.MTime = got[p].State.MTime
			want[p] = n
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("tree differs (-want +got):\n%s", d)
	}
}

func members(pic map[string]node, p string) string {
	n := pic[p]
	lead := p
	if n.Same != "" {
		lead = n.Same
	}
	var out []string
	for q, m := range pic {
		if q == lead || m.Same == lead {
			out = append(out, q)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\x00")
}

// diff makes the changeset from one picture to another.
func diff(before, after map[string]node) change.Changeset {
	var out change.Changeset
	paths := map[string]bool{}
	for p := range before {
		paths[p] = true
	}
	for p := range after {
		paths[p] = true
	}
	delete(paths, "/")
	for p := range paths {
		b, a := before[p], after[p]
		c := change.Change{Path: change.Path(p), Before: b.State, After: a.State}
		c.After.NLink = 0
		sameGroup := members(before, p) == members(after, p)
		if !b.State.Absent() && b.State.Type == a.State.Type && sameGroup {
			c.InPlace = b.State.NLink > 1
		} else if a.Same != "" && a.State.Type != change.Dir {
			c.Link = change.Path(a.Same)
		}
		if c.Valid() == nil {
			out = append(out, c)
		}
	}
	change.Sort(out)
	return out
}

// fixture is a host tree, how it shall be, and an approved session.
type fixture struct {
	host, dir     string
	before, after map[string]node
	plan          plan.Plan
}

var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const testID = "20261121-test-a3f2"

func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "apply")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func sh(t testing.TB, dir, script string) {
	t.Helper()
	cmd := exec.Command("bash", "-euc", script)
	cmd.Dir = dir
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
}

// setup makes a host tree with one script, and a session that shall change it as
// the others do: one stretch of changes each, a command between two.
func setup(t testing.TB, start string, stretches ...string) *fixture {
	t.Helper()
	top := tempDir(t)
	f := &fixture{host: filepath.Join(top, "host")}
	sessions, want := filepath.Join(top, "sessions"), filepath.Join(top, "want")
	for _, d := range []string{f.host, sessions} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, f.host, start)
	sh(t, top, "cp -a host want")
	f.plan = plan.Plan{Version: plan.Version, Session: testID, HostKey: "local", Mode: plan.Root}
	f.before = picture(t, f.host)
	now, blobs := f.before, map[string]string{}
	blobDir := filepath.Join(top, "blobs")
	os.Mkdir(blobDir, 0o700)
	for i, script := range stretches {
		if i > 0 {
			f.plan.Ops = append(f.plan.Ops, plan.Operation{Command: &plan.Command{Argv: []string{"svc", fmt.Sprint(i)}, Path: "/bin/svc", Cwd: "/", Undo: []string{"svc", "undo", fmt.Sprint(i)}}})
		}
		sh(t, want, script)
		next := picture(t, want)
		for _, c := range diff(now, next) {
			f.plan.Ops = append(f.plan.Ops, plan.Operation{Change: &c})
			if sha := c.After.SHA256; sha != "" && blobs[sha] == "" {
				b, err := os.ReadFile(filepath.Join(want, string(c.Path)))
				if err != nil {
					t.Fatal(err)
				}
				blobs[sha] = filepath.Join(blobDir, sha)
				if err := os.WriteFile(blobs[sha], b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		now = next
	}
	f.after = now
	var err error
	if f.dir, err = Create(sessions, f.plan, testNow); err != nil {
		t.Fatal(err)
	}
	for _, sha := range f.plan.Blobs() { // and no others: links bring none
		if err := os.Rename(blobs[sha], filepath.Join(f.dir, LayerDir, sha)); err != nil {
			t.Fatal(err)
		}
	}
	f.approve(t, f.approval(t))
	return f
}

func (f *fixture) approval(t testing.TB) plan.Approval {
	t.Helper()
	digest, err := f.plan.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return plan.Approval{ID: "a1", Session: testID, Digest: digest, HostKey: "local", User: "ann", Host: "desk", Created: testNow, Expires: testNow.Add(time.Hour)}
}

func (f *fixture) approve(t testing.TB, a plan.Approval) {
	t.Helper()
	s := f.open(t)
	if err := s.Decide(a, testNow); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) open(t testing.TB) *Session {
	t.Helper()
	s, err := Open(f.dir, f.host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // again, where a loop closed it
	return s
}

// runner is a fake host to run commands on.
type runner struct {
	calls *[]string
	fail  map[string]int
}

func (r runner) Run(_ context.Context, c plan.Command, _ io.Reader, stdout, _ io.Writer) (int, error) {
	call := strings.Join(c.Argv, " ")
	if r.calls != nil {
		*r.calls = append(*r.calls, call)
	}
	fmt.Fprintln(stdout, call)
	return r.fail[call], nil
}

func options() Options {
	return Options{Now: func() time.Time { return testNow.Add(time.Minute) }, Runner: runner{}}
}

func (f *fixture) apply(t testing.TB) {
	t.Helper()
	s := f.open(t)
	defer s.Close()
	out, err := s.Apply(t.Context(), options())
	if err != nil || out.Status != plan.Executed {
		t.Fatalf("apply: %s, %v", out.Status, err)
	}
}

func (f *fixture) rollback(t testing.TB) {
	t.Helper()
	s := f.open(t)
	defer s.Close()
	out, err := s.Rollback(t.Context(), options())
	if err != nil || out.Status != plan.RolledBack {
		t.Fatalf("rollback: %s, %v", out.Status, err)
	}
	if len(out.Notes) > 0 {
		t.Errorf("rollback was not exact: %q", out.Notes)
	}
}

// start is a tree with everything in it.
const start = `
umask 022
mkdir -p etc/app/conf.d var/lib/old/deep/er usr/bin home/u 'we ird'
echo one >etc/app/main.conf; echo two >etc/app/conf.d/a; echo three >etc/app/conf.d/b
chmod 600 etc/app/conf.d/b; chown 12:34 etc/app/conf.d/a
echo tool >usr/bin/tool; chmod 4755 usr/bin/tool
echo d1 >var/lib/old/d1; echo d2 >var/lib/old/deep/d2; ln -s ../d1 var/lib/old/deep/er/l; mkfifo var/lib/old/fifo
echo hard >home/u/h1; ln home/u/h1 home/u/h2; ln home/u/h1 home/u/h3
echo pair >home/u/p1; ln home/u/p1 home/u/p2
echo single >home/u/s1
ln -s main.conf etc/app/current
echo tofile >etc/tolink; mkdir etc/todir2file; echo x >etc/file2dir
: >etc/empty
truncate -s 1M var/sparse; echo end >>var/sparse
printf 'x' >"$(printf 'we ird/n\nl\377')"
python3 -c 'import os
os.setxattr("etc/app/main.conf","user.a",b"1")
os.setxattr("usr/bin/tool","security.capability",bytes.fromhex("0100000200200000000000000000000000000000"))
os.setxattr("etc/app/conf.d/b","system.posix_acl_access",bytes.fromhex("0200000001000600ffffffff020004000c00000004000000ffffffff10000400ffffffff20000000ffffffff"))
os.setxattr("home/u/s1","trusted.t",b"z")
'
find . -depth -exec touch -h -d '2020-01-02 03:04:05.123456789' {} +
`

// work changes it in every way.
const work = `
echo new >etc/app/main.conf.n; chmod 640 etc/app/main.conf.n; mv etc/app/main.conf.n etc/app/main.conf
chmod 604 etc/app/conf.d/a; chown 1:2 etc/app/conf.d/b
rm -r var/lib/old
mkdir -p opt/x/y/z; echo f >opt/x/y/z/f; chmod 2750 opt/x; chmod 555 opt/x/y; chown 5:6 opt/x/y/z
rm home/u/h2; echo repl >home/u/t; mv home/u/t home/u/h3
echo both >home/u/p1
ln home/u/s1 home/u/s2
ln -sfn b etc/app/current
ln -sf /nowhere etc/tolink
rmdir etc/todir2file; echo was >etc/todir2file
rm etc/file2dir; mkdir etc/file2dir; echo in >etc/file2dir/in; ln etc/file2dir/in etc/file2dir/in2
echo full >etc/empty; : >etc/app/conf.d/c
mkfifo -m 611 etc/fifo; mknod etc/null c 1 3; ln -s x "$(printf 'we ird/\xfe')"
truncate -s 2M var/sparse; echo more >>var/sparse
rm "$(printf 'we ird/n\nl\377')"
chmod 755 usr/bin/tool
python3 -c 'import os
os.setxattr("home/u/s1","user.b",b"2"); os.removexattr("home/u/s1","trusted.t")
os.setxattr("etc/app","system.posix_acl_default",bytes.fromhex("0200000001000700ffffffff02000700030000000400050 0ffffffff10000700ffffffff20000500ffffffff".replace(" ","")))
'
touch -d 2021-05-05 opt/x/y/z/f etc/file2dir opt/x
`

const work2 = `
echo again >etc/app/main.conf; echo third >opt/x/y/z/g; rm etc/fifo; mv home/u/s2 home/u/s9; mkdir var/lib/old; chmod 700 etc/app
`

func root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test changes owners and must run as root")
	}
}
