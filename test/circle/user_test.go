//go:build linux

package circle

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// userSeed fills a directory of an ordinary account.
const userSeed = `mkdir -p d/e empty log; echo one > a; echo two > b; printf 'x=1\ny=2\n' > conf; echo deep > d/e/deep
ln -s ../a d/sym; echo 1 > log/app.log; ln -s nowhere dangling; for i in 1 2 3; do echo $i > d/$i; done; chmod 600 b
find . -exec touch -h -d 2001-02-03 {} +`

// userCorpus makes sense without rights. Directories that are there are not renamed:
// the kernel cannot in this mode, and says so to the script.
var userCorpus = map[string]string{
	"write":      `echo more >> a; echo n > new; sed -i s/1/9/ conf; rm b; chmod 600 d/1`,
	"directory":  `mkdir -p n/e/w; echo x > n/e/w/x; rm -rf d; rmdir empty; mv n n2`,
	"types":      `rm a; mkdir a; echo q > a/q; ln -sfn b dangling; rm conf; mkfifo conf; rm -r log; echo l > log`,
	"renames":    `mv a z; mv b d/e/b; mv conf a; ln z z2; mv d/e/deep .`,
	"rotate":     `mv log/app.log log/app.log.1; : > log/app.log; gzip -n log/app.log.1; ln -s app.log log/current`,
	"tar":        `tar cf t.tar d a b; mkdir out; tar xpf t.tar -C out; rm t.tar`,
	"git":        `export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE=@1000000000 GIT_COMMITTER_DATE=@1000000000; git init -q -b main r; cd r; cp ../a .; git add .; git -c user.name=x -c user.email=x@x commit -qm one; cd ..; git clone -q r c; rm -rf r/.git/index c/.git/index r/.git/logs c/.git/logs`,
	"python":     "#!/usr/bin/python3\n" + `import os, pathlib; p = pathlib.Path("venv/lib"); p.mkdir(parents=True); [(p / f"m{i}.py").write_text("x" * i) for i in range(30)]; os.symlink("lib", "venv/lib64"); os.replace("a", "b")` + "\n",
	"perl":       "#!/usr/bin/perl\n" + `open F, ">>a"; print F "p"; close F; rename "b", "bb"; unlink "conf"; mkdir "m", 0700; utime 1e8, 1e8, "a";` + "\n",
	"fails":      `set -e; echo 1 > first; rm a; false; echo 2 > second`,
	"names":      `printf x > "$(printf 'new\nline')"; mkdir "$(printf '\033[31m\377')"; echo '*' > '*'`,
	"not theirs": `echo bad >> /etc/passwd; rm -f /etc/hosts; echo 1 > mine; true`,
	"make":       `printf 'all: o1 o2\no1:\n\techo 1 > o1\no2: o1\n\tcp o1 o2\n' > Makefile; make -s -j2`,
	"sqlite":     `sqlite3 db "create table t(a); insert into t values(1),(2);"`,
}

// TestOracleAsUser is the oracle for an ordinary account, in its own directory on
// the machine itself: a world cannot be entered without root.
func TestOracleAsUser(t *testing.T) {
	testkit.Root(t)
	u, err := user.Lookup(testkit.User(t))
	if err != nil {
		t.Fatal(err)
	}
	s := testkit.SSHD(t, testkit.LoginUser(u.Username))
	h := &host{server: s, client: newClient(t, s)}
	dir := filepath.Join(u.HomeDir, "circle")
	t.Cleanup(func() { os.RemoveAll(dir) })
	for i, name := range slices.Sorted(maps.Keys(userCorpus)) {
		if !full() && i%3 != 0 {
			continue
		}
		t.Run(name, func(t *testing.T) { h.oracleAsUser(t, dir, userCorpus[name]) })
	}
}

func (h *host) oracleAsUser(t *testing.T, dir, script string) {
	seedDir := func() { h.login(t, fmt.Sprintf("rm -rf %[1]s; mkdir %[1]s; cd %[1]s; %[2]s", dir, userSeed)) }
	seedDir()
	before := tree(t, dir, true, nil)
	file := testkit.WriteFile(t, "script", script, 0o755)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	since := now()
	exit := h.login(t, "cd "+dir+"; cat > .s; chmod 755 .s; "+interpreter(script)+" ./.s 2>/dev/null < /dev/null; e=$?; rm .s; exit $e", string(text))
	want := tree(t, dir, false, before, since)
	seedDir()
	since = now()
	lead := "cd " + dir + "\n"
	if strings.Contains(script, "python3") {
		script = strings.Replace(script, "import os", "import os; os.chdir('"+dir+"'); import os", 1)
	} else if strings.HasPrefix(script, "#!/usr/bin/perl") {
		script = strings.Replace(script, "open F", "chdir '"+dir+"'; open F", 1)
	} else {
		script = lead + script
	}
	p := h.plan(t, script)
	if p.Plan.Exit != exit || p.Plan.Mode != "user" {
		t.Errorf("mode %s, exit code %d in the dry run, %d when run: %s", p.Plan.Mode, p.Plan.Exit, exit, p.Plan.Stderr)
	}
	if d := cmp.Diff(before, tree(t, dir, true, nil)); d != "" {
		t.Errorf("planning changed something (-before +after):\n%s", d)
	}
	h.approve(t, p)
	h.apply(t, p)
	if d := cmp.Diff(want, tree(t, dir, false, before, since)); d != "" {
		t.Errorf("-script +plan:\n%s\n%s", d, describe(p.Plan))
	}
	h.rollback(t, p)
	if d := cmp.Diff(before, tree(t, dir, true, nil)); d != "" {
		t.Errorf("-before +rollback:\n%s\n%s", d, describe(p.Plan))
	}
}

// login runs a line as the account.
func (h *host) login(t *testing.T, line string, stdin ...string) int {
	t.Helper()
	cmd := exec.Command("/usr/bin/setpriv", "--reuid="+h.server.User, "--regid="+h.server.User, "--init-groups", "--reset-env", "/bin/sh", "-c", line)
	cmd.Stdin = strings.NewReader(strings.Join(stdin, ""))
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// tree describes a directory: with all times, or with those that a plan names.
func tree(t *testing.T, dir string, exact bool, before map[string]string, since ...int64) map[string]string {
	t.Helper()
	paths := map[string]bool{}
	if err := walk(dir, "", paths); err != nil {
		t.Fatal(err)
	}
	out, first := map[string]string{}, map[[2]uint64]string{}
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		n, _, err := read(dir + p)
		if err != nil {
			t.Fatal(err)
		}
		line := n.what
		if !n.dir {
			if _, ok := first[n.inode]; !ok {
				first[n.inode] = p
			}
			line += fmt.Sprintf(" %d links, first %q", n.links, first[n.inode])
		}
		switch at := fmt.Sprintf(" at %s", time.Unix(0, n.mtime).UTC().Format(time.RFC3339Nano)); {
		case exact || n.file && n.mtime < since[0] && before[p] != line+at:
			line += at
		}
		out[p] = line
	}
	return out
}
