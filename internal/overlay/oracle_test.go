//go:build linux

package overlay

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/plan"
)

// seed fills the directory that scripts of the oracle run in.
const seed = `set -e
mkdir -p d/e/f empty opaque/sub link
echo one > a; echo two > b; chmod 640 b; printf 'x=1\ny=2\nz=3\n' > conf
echo deep > d/e/f/deep; echo mid > d/e/mid; ln -s ../a d/sym; ln -s nowhere dangling
for i in 1 2 3 4 5; do echo $i > opaque/$i; done; echo s > opaque/sub/s
echo linked > h1; ln h1 h2; ln h1 link/h3; echo pair > p1; ln p1 p2
echo attr > x; $SET xattr user.color blue x
touch -d '2001-02-03' old; chown 1:1 old 2>/dev/null || true; mkfifo pipe
`

// corpus are scripts whose effect on a copy of the seed is compared.
var corpus = map[string]string{
	"nothing":            `cat a b; ls -R . > /dev/null`,
	"create":             `echo new > new; mkdir -p n/e/w; echo x > n/e/w/x`,
	"append":             `echo more >> a`,
	"chmod":              `chmod 4755 a; chmod 700 d/e; chmod 1777 empty`,
	"chown":              `chown 7:8 a; chown -R 3:4 d; chown -h 9 dangling`,
	"delete":             `rm -f a old; rm -rf d`,
	"sed":                `sed -i s/2/9/ conf`,
	"rename file":        `mv a z; mv b d/e/b`,
	"rename directory":   `mv d q`,
	"rename twice":       `mv d q; mv q/e r; echo n > r/new; rm r/mid`,
	"rename into itself": `mkdir t; mv d t/d; mv opaque t/d/e/o; rm t/d/e/o/1`,
	"rename over":        `mv empty gone; mkdir empty; echo x > empty/x; mv -T opaque gone`,
	"rename storm":       `for i in 1 2 3 4 5 6 7 8 9; do mv d d$i; mkdir d; echo $i > d/$i; mv d/$i d$i/; rmdir d; mv d$i d; done`,
	"swap directories":   `mv d t; mv opaque d; mv t opaque; echo q > d/q`,
	"opaque":             `rm -rf opaque; mkdir opaque; echo n > opaque/3; echo m > opaque/n`,
	"opaque nested":      `rm -rf opaque/sub; mkdir opaque/sub; mv opaque o2; mkdir opaque`,
	"file to directory":  `rm a; mkdir a; echo x > a/x`,
	"directory to file":  `rm -rf d; echo d > d`,
	"file to symlink":    `ln -sfn b a; rm -rf opaque; ln -s d opaque`,
	"symlink swap":       `ln -s d cur; ln -sfn opaque cur; ln -s b t; mv -T t dangling`,
	"symlink to dir":     `rm d/sym; mkdir d/sym; echo x > d/sym/y`,
	"hard link new":      `ln a l1; ln a d/l2; ln l1 l3`,
	"hard link farm":     `mkdir farm; for i in 1 2 3 4 5 6 7 8; do ln b farm/$i; echo $i > farm/f$i; ln farm/f$i farm/g$i; done; rm b`,
	"hard link write":    `echo more >> h1`,
	"hard link chmod":    `chmod 600 h2`,
	"hard link two":      `echo m >> h1; echo n >> h2`,
	"hard link break":    `cp h1 t; mv t h1; echo n >> h1`,
	"hard link same":     `cp -p p1 t; mv t p1; echo n >> p2`,
	"hard link remove":   `rm h1; echo x >> h2`,
	"hard link gone":     `echo m >> h1; rm h1`,
	"hard link move":     `mv h1 h9; echo x >> h9`,
	"hard link join":     `ln h1 h4; ln -f h1 a`,
	"hard link all":      `rm h1 h2 link/h3; echo n > h1; ln h1 h2`,
	"hard link dir":      `mv link link2; echo x >> link2/h3`,
	"link symlink":       `ln -P dangling dang2; ln -P pipe pipe2`,
	"fifo":               `mkfifo ff; rm pipe`,
	"device":             `mknod dev c 1 3; mknod blk b 7 0`,
	"xattr":              `$SET xattr user.new 1 a; $SET xattr user.color "" x; $SET xattr user.d q d; $SET xattr user.overlay.x y d; $SET xattr user.color red h1`,
	"acl":                `$SET xattr system.posix_acl_access ACL a; $SET xattr system.posix_acl_default ACL d; $SET xattr system.posix_acl_access ACL opaque; touch d/inherits; chmod 600 a`,
	"capability":         `cp /bin/true cap; setcap cap_net_raw+ep cap; echo x > c2; setcap cap_chown+ep c2; echo y >> c2`,
	"times":              `touch -d '1999-09-09' a new; touch -h -d '1998-08-08' dangling`,
	"sparse":             `truncate -s 50M sparse; echo end >> sparse`,
	"truncate":           `: > a; truncate -s 3 conf`,
	"names":              `printf x > "$(printf 'new\nline')"; printf y > "$(printf '\033[31m\377\001')"; mkdir 'sp ace,co:mma'; echo z > 'sp ace,co:mma/a\b'`,
	"rewrite same":       `cp a t; cat t > a; rm t; mv b b2; mv b2 b`,
	"tar":                `tar cf t.tar d opaque h1 h2; rm -rf d opaque; mkdir out; tar xpf t.tar -C out; rm t.tar`,
	"umask":              `umask 077; echo s > s; mkdir sd; umask 0; echo o > o`,
	"perl":               `perl -e 'open F,">>a"; print F "p"; close F; rename "a","aa"; link "b","bb"; symlink "q","qq"; unlink "conf"'`,
	"sqlite":             `sqlite3 db 'create table t(a); insert into t values (1),(2); pragma journal_mode=wal; insert into t values(3);' >/dev/null`,
	"make":               `printf 'all: o1 o2\no1:\n\techo 1 > o1\no2: o1\n\tcp o1 o2\n' > Makefile; make -s -j2`,
	"setgid dir":         `mkdir g; chgrp 5 g; chmod 2775 g; echo x > g/x; mkdir g/s`,
	"dd in place":        `printf Q | dd of=conf bs=1 seek=2 conv=notrunc 2>/dev/null`,
	"git": `export GIT_AUTHOR_DATE=@1 GIT_COMMITTER_DATE=@1 HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1; git init -q repo; cd repo; echo a > a; git add a
git -c user.name=x -c user.email=x@x commit -qm one; git branch b; cd ..; git clone -q repo clone; rm -f repo/.git/index clone/.git/index; rm -rf clone/.git/logs repo/.git/logs; rm -f clone/.git/config`,
	"background":     `(echo b > bg) & wait; sleep 60 >/dev/null 2>&1 & true`,
	"exchange":       `python3 -c 'pass' 2>/dev/null; mv a t; mv b a; mv t b`,
	"deep tree":      `p=.; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do p=$p/$i; mkdir $p; echo $i > $p/f; done; mv 1 one; rm -rf one/2/3/4/5`,
	"mkdir in moved": `mv d/e e2; mkdir e2/n; mv e2 d/e; rm d/e/f/deep; rmdir d/e/f`,
}

// staged are scripts with deferred commands between their changes.
var staged = map[string]string{
	"link then write":   `ln a l1; systemctl restart x; echo m >> a`,
	"write then link":   `echo m >> a; systemctl restart x; ln a l1; systemctl stop x; ln a l2; echo n >> l1`,
	"create delete":     `echo n > n; mkdir nd; systemctl restart x; rm n a; rmdir nd`,
	"delete create":     `rm a; rm -rf d; systemctl restart x; echo again > a; mkdir d; echo x > d/x`,
	"restore":           `cp -p a s; echo q > a; systemctl restart x; cp s a; rm s`,
	"hard links":        `echo m >> h1; systemctl restart x; echo n >> h2; systemctl stop x; rm h1; echo z >> h2`,
	"rename":            `mv d q; systemctl restart x; mv q r; echo n > r/n; systemctl stop x; mv r d`,
	"new links":         `echo n > n1; ln n1 n2; systemctl restart x; echo m >> n2; systemctl stop x; rm n1; systemctl start y; chmod 600 n2`,
	"chmod twice":       `chmod 600 a; systemctl restart x; chmod 640 a; systemctl restart y; chmod 644 a`,
	"types":             `rm a; mkdir a; systemctl restart x; rmdir a; ln -s b a; systemctl restart y; rm a; mkfifo a`,
	"back to the start": `cp -p h1 t; mv t h1; systemctl restart x; ln -f h2 h1; echo k >> h2`,
	"opaque in steps":   `rm -rf opaque; systemctl restart x; mkdir opaque; systemctl restart y; echo 3 > opaque/3`,
}

// TestOracle holds the plan to what the script does in earnest: a copy of the seed
// after the plan is the same as one after the script.
func TestOracle(t *testing.T) {
	root(t)
	for _, name := range slices.Sorted(keys(corpus)) {
		t.Run(name, func(t *testing.T) { oracle(t, corpus[name]) })
	}
	for _, name := range slices.Sorted(keys(staged)) {
		t.Run("staged "+name, func(t *testing.T) { oracle(t, staged[name]) })
	}
}

// rootOnly are scripts that no ordinary account can run.
var rootOnly = map[string]string{
	"chown": "changes owners", "device": "makes devices", "capability": "gives capabilities", "setgid dir": "gives files to another group",
}

// unseen are scripts whose effect an ordinary account cannot preview: the kernel
// keeps no hard links together and knows no other owners in its user namespace. The
// plan must say so.
var unseen = map[string]string{
	"acl": "ACLs", "hard link chmod": "hard links", "hard link dir": "hard links", "hard link gone": "hard links", "hard link join": "hard links",
	"hard link move": "hard links", "hard link remove": "hard links", "hard link two": "hard links", "hard link write": "hard links", "xattr": "hard links",
	"staged back to the start": "hard links", "staged hard links": "hard links",
}

// TestUserOracle is TestOracle for an ordinary account, in its own directory.
func TestUserOracle(t *testing.T) {
	root(t)
	for _, name := range slices.Sorted(keys(corpus)) {
		if why, ok := rootOnly[name]; ok {
			t.Logf("not as an ordinary account: %s, which %s", name, why)
			continue
		}
		t.Run(name, func(t *testing.T) { userOracle(t, corpus[name], unseen[name]) })
	}
	for _, name := range slices.Sorted(keys(staged)) {
		t.Run("staged "+name, func(t *testing.T) { userOracle(t, staged[name], unseen["staged "+name]) })
	}
}

func userOracle(t *testing.T, script, says string) {
	t.Helper()
	tool := testkit.Dir(t) + "/tool" // the test binary lies where only root may look
	if err := copyFile("/proc/self/exe", tool, 0o755); err != nil {
		t.Fatal(err)
	}
	seed, script := "SET="+tool+"; "+seed, "SET="+tool+"; "+script
	dir := userground(t)
	userShell(t, dir, seed)
	before := snapshot(t, dir)
	work, out, code := userRun(t, "umask 022; cd "+dir+"\n"+script, "VOLATILE=/nonexistent")
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Fatalf("the dry run changed the host:\n%s", diff)
	}
	doc, err := os.ReadFile(work + "/result.json")
	if err != nil {
		t.Fatalf("exit %d: %s", code, out)
	}
	d := &dry{layer: openDir(t, work+"/layer")}
	if err := json.Unmarshal(doc, &d.Result); err != nil {
		t.Fatal(err)
	}
	d.blobs = contentsOf(t, d.layer)
	if says != "" {
		notes := slices.Concat(d.Warnings, d.Labels)
		if !slices.ContainsFunc(notes, func(s string) bool { return strings.Contains(s, says) }) {
			t.Errorf("no word of %s in %q", says, notes)
		}
		return
	}
	direct := userground(t)
	userShell(t, direct, seed)
	userShell(t, direct, "umask 022\n"+strings.ReplaceAll(strings.ReplaceAll(script, dir, direct), "systemctl", "true"))
	apply(t, d, dir)
	if diff := cmp.Diff(snapshot(t, direct), snapshot(t, dir)); diff != "" {
		t.Errorf("-script +plan:\n%s\noperations:\n%s\n%s", diff, d.summary(), out)
	}
}

// userground is a playground that belongs to an ordinary account.
func userground(t *testing.T) string {
	t.Helper()
	dir := playground(t)
	uid, gid := account(t)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return dir
}

func account(t *testing.T) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup(testkit.User(t))
	if err != nil {
		t.Fatal(err)
	}
	uid, err = strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return uid, gid
}

// userShell is shell as an ordinary account.
func userShell(t *testing.T, dir, script string) {
	t.Helper()
	uid, gid := account(t)
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", script, err, out)
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func oracle(t *testing.T, script string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed, script := "SET="+self+"; "+seed, "SET="+self+"; "+script
	dir := playground(t)
	shell(t, dir, seed)
	before := snapshot(t, dir)
	d := must(t, "umask 022; cd "+dir+"\n"+script, func(r *Request) { r.Volatile = []string{"/nonexistent"} })
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Fatalf("the dry run changed the host:\n%s", diff)
	}
	direct := playground(t)
	shell(t, direct, seed)
	shell(t, direct, "umask 022\n"+strings.ReplaceAll(strings.ReplaceAll(script, dir, direct), "systemctl", "true"))
	apply(t, d, dir)
	if diff := cmp.Diff(snapshot(t, direct), snapshot(t, dir)); diff != "" {
		t.Errorf("-script +plan:\n%s\noperations:\n%s\nstderr: %s", diff, d.summary(), d.errs.String())
	}
}

// playground returns a directory on a tmpfs of its own. It is not below /tmp: a
// mount there is in the way of unprivileged dry runs.
func playground(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/mnt", "bowline-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("remove playground: %v", err)
		}
	})
	if err := unix.Mount("playground", dir, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func shell(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", script, err, out)
	}
}

// snapshot describes every path below dir, with links by the first of their names.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	first := map[uint64]string{}
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, m, err := stat(p, plan.Root)
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(p, dir)
		if st.Type == change.File {
			h, err := digest(p, make([]byte, chunk))
			if err != nil {
				return err
			}
			st.SHA256 = h.sum
		}
		if st.Type != change.Dir {
			if _, ok := first[m.ino]; !ok {
				first[m.ino] = rel
			}
		}
		line := fmt.Sprintf("%s %o %d:%d %q %d,%d %v %s", st.Type, st.Mode, st.UID, st.GID, st.Target, st.Major, st.Minor, st.Xattrs, first[m.ino])
		if st.Type == change.File {
			line += fmt.Sprintf(" %d %.8s", st.Size, st.SHA256)
			if !strings.HasSuffix(rel, "db") { // sqlite keeps a random salt nowhere else
				out[rel] = line
			}
			if st.MTime < 1e18 { // chosen by the script or the seed: before 2001-09
				line += fmt.Sprint(" ", st.MTime)
			}
		}
		out[rel] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apply is what the engine will do, in short: it changes the host below dir.
func apply(t *testing.T, d *dry, dir string) {
	t.Helper()
	for _, op := range d.Ops {
		if c := op.Change; c != nil {
			if !within(string(c.Path), dir) {
				t.Errorf("unexpected operation on %s", c.Path)
				continue
			}
			if err := applyOne(d, *c); err != nil {
				t.Fatalf("apply %+v: %v", *c, err)
			}
		}
	}
}

func applyOne(d *dry, c change.Change) error {
	p := string(c.Path)
	now, _, err := stat(p, plan.Root)
	if err != nil {
		return err
	}
	if now.Type == change.File {
		h, err := digest(p, make([]byte, chunk))
		if err != nil {
			return err
		}
		now.SHA256 = h.sum
	}
	if !now.Same(c.Before) && !now.Same(c.After) {
		return fmt.Errorf("conflict: now %+v", now)
	}
	if c.After.Absent() {
		return os.Remove(p)
	}
	tmp := p
	if c.After.Type != change.Dir && !(c.InPlace && now.Type == c.After.Type) {
		tmp = filepath.Dir(p) + "/.tmp-apply"
	}
	if c.Before.Type != c.After.Type && !c.Before.Absent() {
		if err := os.Remove(p); err != nil {
			return err
		}
	}
	if c.Link != "" {
		if err := os.Link(string(c.Link), tmp); err != nil {
			return err
		}
		return renameLink(tmp, p)
	}
	if err := applyContent(d, tmp, c); err != nil {
		return err
	}
	if err := os.Lchown(tmp, int(c.After.UID), int(c.After.GID)); err != nil {
		return err
	}
	if c.After.Type != change.Symlink {
		if err := applyXattrs(tmp, c.After.Xattrs); err != nil {
			return err
		}
		if err := unix.Chmod(tmp, c.After.Mode); err != nil {
			return err
		}
	}
	if c.After.MTime != 0 && c.After.Type != change.Dir {
		ts := unix.NsecToTimespec(c.After.MTime)
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, tmp, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	if tmp == p {
		return nil
	}
	return os.Rename(tmp, p)
}

// renameLink renames even if both are the same inode, which rename(2) ignores.
func renameLink(tmp, p string) error {
	if err := os.Rename(tmp, p); err != nil {
		return err
	}
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func applyContent(d *dry, p string, c change.Change) error {
	switch c.After.Type {
	case change.Dir:
		if c.Before.Type == change.Dir {
			return nil
		}
		return os.Mkdir(p, 0o700)
	case change.Symlink:
		return os.Symlink(string(c.After.Target), p)
	case change.Fifo:
		return unix.Mkfifo(p, 0o600)
	case change.Char:
		return unix.Mknod(p, unix.S_IFCHR, int(unix.Mkdev(c.After.Major, c.After.Minor)))
	case change.Block:
		return unix.Mknod(p, unix.S_IFBLK, int(unix.Mkdev(c.After.Major, c.After.Minor)))
	}
	b, ok := d.blobs[c.After.SHA256]
	if !ok {
		return fmt.Errorf("no content")
	}
	return os.WriteFile(p, b, 0o600)
}

func applyXattrs(p string, want map[string][]byte) error {
	have, _, err := readXattrs(p, plan.Root)
	if err != nil {
		return err
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			if err := unix.Lremovexattr(p, name); err != nil {
				return err
			}
		}
	}
	for name, value := range want {
		if err := unix.Lsetxattr(p, name, value, 0); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}
