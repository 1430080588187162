package review

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// made builds plans without a target.
type made struct {
	plan     plan.Plan
	contents map[string][]byte
}

func (m *made) state(text string, mode uint32) change.State {
	if m.contents == nil {
		m.contents = map[string][]byte{}
	}
	sum := sha256.Sum256([]byte(text))
	s := change.State{Type: change.File, Mode: mode, Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}
	m.contents[s.SHA256] = []byte(text)
	return s
}

func (m *made) edit(path, before, after string) *made {
	m.plan.Ops = append(m.plan.Ops, plan.Operation{Change: &change.Change{Path: change.Path(path), Before: m.state(before, 0o644), After: m.state(after, 0o644)}})
	return m
}

func (m *made) create(path, text string) *made {
	m.plan.Ops = append(m.plan.Ops, plan.Operation{Change: &change.Change{Path: change.Path(path), After: m.state(text, 0o644)}})
	return m
}

func (m *made) run(undo string, argv ...string) *made {
	m.plan.Ops = append(m.plan.Ops, plan.Operation{Command: &plan.Command{Argv: argv, Path: "/bin/" + argv[0], Undo: strings.Fields(undo)}})
	return m
}

func (m *made) doc() *Document { return New(Input{Plan: m.plan, Contents: m.contents}) }

func TestDocumentation(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/risks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "<!-- made from internal/review/classes.go -->\n")
	if rest != RiskTable() {
		t.Errorf("docs/risks.md is not what the code says; below its marker it must be:\n%s", RiskTable())
	}
}

func TestClassesAreSaid(t *testing.T) {
	t.Parallel()
	known := map[Class]bool{}
	for _, c := range Classes() {
		if known[c.Class] || c.Looks == "" || c.Weighs == "" {
			t.Errorf("class %q stands twice or says nothing", c.Class)
		}
		known[c.Class] = true
	}
	for _, r := range rules() {
		if !known[r.class] || r.blind == 0 {
			t.Errorf("a rule of class %q is not documented, or passes over what it cannot read", r.class)
		}
	}
}

// What cannot be read is flagged by its path, in every class that reads contents.
func TestContentNotKept(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d/x", "/home/a/.ssh/authorized_keys", "/etc/ssh/sshd_config", "/etc/ssh/ssh_host_rsa_key",
		"/etc/pam.d/sshd", "/etc/crontab", "/etc/cron.daily/x", "/etc/systemd/system/a.service", "/etc/rc.local", "/var/lib/dpkg/status", "/lib/apk/db/installed", "/var/lib/rpm/rpmdb.sqlite",
		"/etc/apt/sources.list", "/usr/local/share/ca-certificates/x.crt", "/etc/ssl/a.pem", "/root/.bashrc", "/etc/ld.so.preload", "/etc/nftables.conf", "/etc/hosts", "/etc/nsswitch.conf",
		"/etc/resolv.conf", "/etc/fstab", "/etc/default/grub", "/boot/vmlinuz-6", "/etc/modules", "/etc/sysctl.conf", "/etc/udev/rules.d/x", "/etc/selinux/config", "/etc/rsyslog.conf",
	} {
		var m made
		m.edit(path, "a", "b")
		d := New(Input{Plan: m.plan})
		if !strings.Contains(summary(d.Risks), "judge it yourself") {
			t.Errorf("%s: %v", path, summary(d.Risks))
		}
	}
	var m made
	m.edit("/etc/passwd", "root:x:0:0::/root:/bin/sh\n", "\x00\xff::::garbage\n"+strings.Repeat(":", 9000))
	if d := m.doc(); !strings.Contains(summary(d.Risks), "high users /etc/passwd could not be parsed") {
		t.Errorf("garbage: %s", summary(d.Risks))
	}
	m = made{}
	m.edit("/etc/sudoers", "x", "y")
	m.plan.Ops[0].Change.After = change.State{Type: change.Symlink, Target: "/tmp/x"}
	if d := m.doc(); !strings.Contains(summary(d.Risks), "high sudoers /etc/sudoers is or becomes a symlink") {
		t.Errorf("symlink: %s", summary(d.Risks))
	}
}

func summary(risks []Risk) string {
	var b strings.Builder
	for _, r := range risks {
		fmt.Fprintf(&b, "%s %s %s\n", r.Severity, r.Class, r.Text)
	}
	return b.String()
}

func TestPlanAsAWhole(t *testing.T) {
	t.Parallel()
	m := (&made{}).create("/etc/x", "1")
	m.plan.Exit, m.plan.Mode, m.plan.Warnings, m.plan.Stderr = 3, plan.User, []string{"/media is another file system"}, []byte("one\ntwo\n")
	d := New(Input{Plan: m.plan, Contents: m.contents, Others: []Applied{{"20261120-a-0001", []change.Path{"/etc/x", "/etc/y"}}, {"20261120-b-0002", []change.Path{"/z"}}}})
	got := summary(d.Risks)
	for _, want := range []string{"high script-failed the script ended with exit code 3", "medium not-seen the dry run was made as an ordinary user", "medium not-seen the dry run warns: /media",
		"medium overlap session 20261120-a-0001 changed 1 of these paths"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if strings.Contains(got, "-b-0002") || d.Risks[0].Severity != High || len(d.Rows[0].Risks) != 1 || strings.Join(d.Header.Output, "|") != "one|two" {
		t.Errorf("%s%+v", got, d.Header)
	}
	if x := d.Totals; x.High != 1 || x.Medium != 3 || x.Low != 0 || x.Risky != 1 {
		t.Errorf("%+v", x)
	}
	if d := (&made{}).create("/etc/x", "1").doc(); len(d.Risks) != 0 {
		t.Errorf("a plain file: %s", summary(d.Risks))
	}
}

// Ways to hide a line from a parser that is laxer, or stricter, than the program.
func TestNotHidden(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, after, want string }{
		{"/etc/passwd", strings.Repeat("#\n", maxLines+1) + "m:x:0:0::/:/bin/sh\n", "high users /etc/passwd is changed, and its content"},
		{"/etc/sudoers", "# note \\\nm ALL=(ALL) NOPASSWD: ALL\n", "high sudoers sudo allows any command without"},
		{"/etc/sudoers", "m ALL = (root, #0) NOPASSWD: ALL\n", "high sudoers sudo allows any command without"},
		{"/etc/sudoers", "#1000 ALL = NOPASSWD: ALL\n", "high sudoers sudo allows any command without"},
		{"/etc/sudoers", "m ALL = NOPASSWD: A\\\nLL\n", "sudoers sudo allows"},
		{"/etc/ssh/sshd_config", "Banner x \\\nPermitRootLogin yes\n", "high sshd-config"},
		{"/etc/ssh/sshd_config", "permitrootlogin=\"yes\"\n", "high sshd-config"},
		{"/etc/sysctl.conf", "a = 1 \\\nkernel/yama/ptrace_scope=0\n", "high kernel-settings"},
		{"/etc/passwd", "+::0:0::/:/bin/sh\n", "high users /etc/passwd could not be parsed"},
		{"/usr/local/share/ca-certificates/x.crt", strings.Repeat("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", maxCertificates+1), "high certificates"},
	} {
		if got := summary((&made{}).edit(tt.path, "", tt.after).doc().Risks); !strings.Contains(got, tt.want) {
			t.Errorf("%s: no %q in %.500s", tt.path, tt.want, got)
		}
	}
}

// An account that takes uid 0 does not take root's name.
func TestNames(t *testing.T) {
	t.Parallel()
	d := (&made{}).edit("/etc/passwd", "root:x:0:0::/root:/bin/sh\n", "m:x:0:0::/m:/bin/sh\na:x:7:7::/a:/bin/sh\nb:x:7:7::/b:/bin/sh\n").create("/srv/x", "1").doc()
	d.in.Plan.Ops[1].Change.After.UID = 7
	if got := d.Rows[1].Detail; !strings.HasSuffix(got, "owner root:root") {
		t.Error(got)
	}
	if f := d.Facts(2); !slices.Contains(f, Fact{"owner", "", "7 (a)"}) {
		t.Error(f)
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ undo, argv, want string }{
		{"systemctl start nginx", "systemctl restart nginx", "low units services are started or restarted: systemctl restart nginx"},
		{"systemctl unmask auditd", "systemctl mask auditd", "high units"},
		{"systemctl disable x", "systemctl -q enable x", "medium units services are enabled"},
		{"service ssh start", "service ssh stop", "medium units services are stopped"},
		{"", "systemctl daemon-reload", "medium units"},
		{"", "reboot", "high boot"},
		{"", "iptables -F", "high firewall the firewall is opened"},
		{"", "nft add rule inet f input tcp dport 22 accept", "medium firewall"},
		{"", "modprobe dccp", "medium kernel-modules"},
		{"", "sysctl -w kernel.randomize_va_space=0", "high kernel-settings"},
		{"", "crontab -", "medium cron"},
		{"", "docker run x", "medium commands"},
		{"", "frobnicate", "medium commands a command reaches outside the file system: frobnicate; no undo is known"},
	} {
		d := (&made{}).run(tt.undo, strings.Fields(tt.argv)...).doc()
		if got := summary(d.Risks); len(d.Risks) != 1 || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s", tt.argv, got)
		}
	}
}

func TestOutline(t *testing.T) {
	t.Parallel()
	var m made
	for i := range 1200 {
		m.create(fmt.Sprintf("/usr/share/doc/p%02d/f%04d", i/100, i), "x")
	}
	m.create("/usr/share/doc/z", "x").create("/etc/one", "x").run("", "true").create("/etc/two", "x")
	m.plan.Ops[600].Change.After.Mode = 0o4755
	d := m.doc()
	var got []string
	n := 0
	for _, it := range d.Outline {
		if it.Group != nil {
			got = append(got, fmt.Sprintf("%s %d %d", it.Group.Dir, len(it.Group.Rows), it.Group.Totals.Created))
			n += len(it.Group.Rows)
			continue
		}
		got = append(got, d.Rows[it.Row-1].Subject)
		n++
	}
	want := []string{"/usr/share/doc 1200 1200", "/usr/share/doc/p06/f0600", "/etc/one", "true", "/etc/two"}
	if !slices.Equal(got, want) || n != len(d.Rows) {
		t.Errorf("outline %q, %d of %d rows", got, n, len(d.Rows))
	}
}

func render(d Diff) string {
	var b strings.Builder
	for _, h := range d.Hunks {
		fmt.Fprintln(&b, h.Header())
		for _, l := range h.Lines {
			text := l.Text
			for _, s := range slices.Backward(l.Spans) {
				text = text[:s.Start] + "[" + text[s.Start:s.End] + "]" + text[s.End:]
			}
			fmt.Fprintf(&b, "%c%d,%d %s\n", l.Kind, l.Old, l.New, text)
		}
	}
	return b.String()
}

func TestDiff(t *testing.T) {
	t.Parallel()
	d := (&made{}).edit("/a", "1\n2\n3\n4\n5\nlimit = 10\n7\n8\n9\n10\n11", "1\n2\n3\n4\n5\nlimit = 100\n7\n8\n9\n10\n11\n").doc().Diff(1)
	want := "@@ -3,9 +3,9 @@\n 3,3 3\n 4,4 4\n 5,5 5\n-6,0 limit = 10\n+0,6 limit = 10[0]\n 7,7 7\n 8,8 8\n 9,9 9\n 10,10 10\n-11,0 11\n+0,11 11\n"
	if got := render(d); got != want || !d.Hunks[0].Lines[9].NoEOL || d.Hunks[0].Lines[10].NoEOL {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := render((&made{}).create("/a", "x\n").doc().Diff(1)); got != "@@ -0,0 +1,1 @@\n+0,1 x\n" {
		t.Errorf("created: %s", got)
	}
	m := (&made{}).edit("/a", "a\x00", "b")
	if d := m.doc().Diff(1); d.Reason != Binary || d.Note == "" {
		t.Errorf("binary: %+v", d)
	}
	if d := New(Input{Plan: m.plan}).Diff(1); d.Reason != NotKept {
		t.Errorf("not kept: %+v", d)
	}
	if d := m.run("", "true").doc(); d.Diff(2).Reason != Unchanged || d.Diff(0).Reason != Unchanged || d.Diff(9).Reason != Unchanged {
		t.Error("a command has no diff")
	}
	if d := (&made{}).edit("/a", strings.Repeat("x", 2<<20), strings.Repeat("y", 2<<20)).doc().Diff(1); d.Reason != TooLarge {
		t.Errorf("one long line: %+v", d.Reason)
	}
}

// large returns a text of 50 MiB, and the same with line i changed.
func large(changed ...int) (string, string) {
	var b, a strings.Builder
	for i := range 50 << 20 / 32 {
		fmt.Fprintf(&b, "line %08d of a very large file\n", i)
		if slices.Contains(changed, i) {
			fmt.Fprintf(&a, "LINE %08d of a very large file\n", i)
		} else {
			fmt.Fprintf(&a, "line %08d of a very large file\n", i)
		}
	}
	return b.String(), a.String()
}

func TestDiffLarge(t *testing.T) {
	t.Parallel()
	b, a := large(700000)
	start := time.Now()
	d := diffTexts(b, a)
	if got := render(d); d.Cut != "" || len(d.Hunks) != 1 || !strings.Contains(got, "-700001,0 [line] 00700000") || !strings.HasPrefix(got, "@@ -699998,7 +699998,7 @@") {
		t.Errorf("one line: %q %s", d.Cut, got)
	}
	b, a = large(10, 1600000)
	d = diffTexts(b, a)
	if got := render(d); !strings.Contains(d.Cut, "only the first part") || !strings.Contains(got, "-11,0 ") || strings.Contains(got, "-10000,0 ") {
		t.Errorf("far apart: %q %.300s", d.Cut, got)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

// FuzzDiff: the hunks of a diff that is not cut turn one text into the other.
func FuzzDiff(f *testing.F) {
	f.Add("a\nb\n", "a\nc\n")
	f.Add("a", "a\n")
	f.Add("", "\n\n")
	f.Add("x\ny\nz\nx\n", "x\nx\ny\nz")
	f.Fuzz(func(t *testing.T, b, a string) {
		d := diffTexts(b, a)
		if d.Cut != "" || d.Reason != Shown {
			return
		}
		old := strings.SplitAfter(b, "\n")
		var out strings.Builder
		at := 0
		for _, h := range d.Hunks {
			for _, l := range h.Lines {
				eol := "\n"
				if l.NoEOL {
					eol = ""
				}
				if l.Kind != Inserted {
					for ; at < l.Old-1; at++ {
						out.WriteString(old[at])
					}
					if old[at] != l.Text+eol {
						t.Fatalf("line %d is %q, not %q", l.Old, old[at], l.Text)
					}
					at++
				}
				if l.Kind != Deleted {
					for ; l.Kind == Inserted && at < h.OldStart-1; at++ {
						out.WriteString(old[at])
					}
					out.WriteString(l.Text + eol)
				}
				for _, s := range l.Spans {
					if s.Start < 0 || s.End > len(l.Text) || s.Start >= s.End {
						t.Fatalf("span %v of %q", s, l.Text)
					}
				}
			}
		}
		out.WriteString(strings.Join(old[at:], ""))
		if out.String() != a {
			t.Errorf("%q to %q became %q:\n%s", b, a, out.String(), render(d))
		}
	})
}

// fuzzPaths is one path of each parser.
var fuzzPaths = []string{
	"/etc/passwd", "/etc/shadow", "/etc/subuid", "/etc/group", "/etc/gshadow", "/etc/sudoers", "/root/.ssh/authorized_keys", "/etc/ssh/sshd_config", "/etc/pam.d/x", "/etc/crontab",
	"/etc/cron.daily/x", "/etc/systemd/system/x.service", "/etc/systemd/system/x.timer", "/etc/init.d/x", "/var/lib/dpkg/status", "/lib/apk/db/installed", "/etc/apt/sources.list",
	"/etc/apt/apt.conf", "/etc/ssl/x.pem", "/usr/local/share/ca-certificates/x.crt", "/etc/profile", "/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/nftables.conf", "/etc/resolv.conf",
	"/etc/hosts", "/etc/nsswitch.conf", "/etc/fstab", "/etc/default/grub", "/etc/modules", "/etc/sysctl.conf", "/etc/udev/rules.d/x", "/etc/selinux/config", "/etc/rsyslog.conf", "/var/log/x", "/srv/.env",
}

// FuzzRisks: no content makes a parser fail, and what it says stays bounded.
func FuzzRisks(f *testing.F) {
	f.Add("", "root:x:0:0::/root:/bin/sh\nx::0\n", []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add("*filter\n:INPUT ACCEPT [0:0]\n", "table inet f { chain c { tcp dport 1 accept; } } }", []byte{2, 0, 0, 0, 2, 0, 7, 0, 1, 0, 0, 0})
	f.Add("a ALL=(ALL) ALL\\\n", "Package: a\nVersion: 1~\n\n-----BEGIN CERTIFICATE-----\n", []byte(nil))
	f.Add("= \n", "PATH=\n#1 x=y\n@\n[a]\n=b\n match \n", []byte("x"))
	f.Fuzz(func(t *testing.T, before, after string, attr []byte) {
		var m made
		for _, p := range fuzzPaths {
			m.edit(p, before, after)
			c := m.plan.Ops[len(m.plan.Ops)-1].Change
			c.After.Xattrs = map[string][]byte{capsAttr: attr, accessACLAttr: attr, "user.x": attr}
		}
		d := m.doc()
		for _, r := range d.Risks {
			if len(r.Text) > 4<<10 || len(r.Evidence) > maxEvidence || r.Op > len(d.Rows) || r.Severity < Low || r.Severity > High {
				t.Errorf("%+v", r)
			}
		}
		if len(d.Risks) > len(fuzzPaths)*(maxFindings+4)*3 {
			t.Errorf("%d risks", len(d.Risks))
		}
		d.Facts(1)
		d.Diff(1)
	})
}

// bigPlan is what installing packages looks like: 5,000 operations, with the
// files that parsers read among them.
func bigPlan() made {
	var m made
	status := strings.Repeat("Package: p\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0\nDescription: text\n more text\n\n", 1500)
	m.edit("/etc/passwd", strings.Repeat("a:x:1:1::/:/bin/sh\n", 100), strings.Repeat("a:x:1:1::/:/bin/sh\n", 101))
	m.edit("/var/lib/dpkg/status", status, status+"Package: q\nStatus: install ok installed\nVersion: 2\n\n")
	for i := len(m.plan.Ops); i < 5000; i++ {
		m.create(fmt.Sprintf("/usr/share/doc/p%03d/file%04d", i/20, i), fmt.Sprintf("text %d\n", i))
	}
	return m
}

func BenchmarkNew5000(b *testing.B) {
	m := bigPlan()
	b.ReportAllocs()
	for b.Loop() {
		if d := m.doc(); len(d.Rows) != 5000 {
			b.Fatal(len(d.Rows))
		}
	}
}

func BenchmarkDiff50MiB(b *testing.B) {
	for _, c := range []struct {
		name    string
		changed []int
	}{{"one line", []int{700000}}, {"far apart", []int{10, 1600000}}} {
		before, after := large(c.changed...)
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(before)))
			for b.Loop() {
				diffTexts(before, after)
			}
		})
	}
	x, y := strings.Repeat("old line of text\n", 3<<20), strings.Repeat("new line of text!\n", 3<<20)
	b.Run("all", func(b *testing.B) {
		b.SetBytes(int64(len(x)))
		for b.Loop() {
			diffTexts(x, y)
		}
	})
}

// A target that sends what costs most gets no more than bounded work.
func TestHostileSizes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, paths string }{
		{"u%d:x:7:7::/:/bin/sh\n", "/etc/passwd"},
		{"%d:::\n", "/etc/group /etc/gshadow /etc/passwd"},
		{"Cmnd_Alias A%d = A1\nu ALL = A%[1]d\n", "/etc/sudoers"},
		{"k%d = v { x; } \n", "/etc/sysctl.conf /etc/nftables.conf /srv/.env"},
		{"* * * * * j%d\n", "/etc/crontab /etc/hosts"},
		{"Package: p%d\nStatus: i ok installed\nVersion: 1\n\n", "/var/lib/dpkg/status"},
		{"-----BEGIN CERTIFICATE-----\n%d\n", "/etc/ssl/x.pem /usr/local/share/ca-certificates/x.crt"},
		{"b%d {\n", "/etc/nftables.conf"},
		{"x%d \\\n", "/etc/pam.d/x /etc/sudoers"},
	} {
		var b strings.Builder
		for i := 0; b.Len() < 2<<20; i++ {
			fmt.Fprintf(&b, c.line, i)
		}
		for _, p := range strings.Fields(c.paths) {
			start := time.Now()
			d := (&made{}).edit(p, "x=1\n", b.String()).doc()
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%q in %s took %s", c.line, p, took)
			}
			if len(d.Risks) > 200 {
				t.Errorf("%q in %s: %d risks", c.line, p, len(d.Risks))
			}
		}
	}
}
