package sandbox

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/profile/profilefile"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func builtin(t testing.TB, name string) profile.Profile {
	t.Helper()
	p, err := profilefile.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// picture shows steps for people, one per line.
func picture(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		switch {
		case s.Mask != nil && s.Mask.inside() == s.Mask.Source:
			fmt.Fprintf(&b, "mask %s\n", s.Mask.Source)
		case s.Mask != nil:
			fmt.Fprintf(&b, "mask %s (%s on the target)\n", s.Mask.inside(), s.Mask.Source)
		case s.Env:
			fmt.Fprintf(&b, "env %q\n", s.Args[1:])
		default:
			fmt.Fprintf(&b, "%s\n", strings.Join(s.Args, " "))
		}
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (see what -update changes):\n%s", file, got)
	}
}

func TestGolden(t *testing.T) {
	for _, name := range profilefile.BuiltinNames() {
		t.Run(name, func(t *testing.T) {
			golden(t, name, picture(Build(Spec{Profile: builtin(t, name), Argv: []string{"ls"}})))
		})
	}
	everything := builtin(t, "minimal")
	everything.Name = "everything"
	everything.Binds = append(everything.Binds, profile.Bind{Source: "/home/alice", Target: "/job", ReadOnly: false}, profile.Bind{Source: "/", Target: "/host", ReadOnly: true})
	everything.Hide = []string{"/job/private", "/job/*/tmp"}
	everything.NetworkIsolation, everything.UserNamespaceIsolation, everything.ClearEnv, everything.UnixSockets = false, false, false, true
	everything.Hostname = "box"
	everything.AdditionalArgs = []string{"--dir", "/x y"}
	golden(t, "everything", picture(Build(Spec{Profile: everything, Argv: []string{"ls"}, Env: map[string]string{"LANG": "de", "A": "a\nb"}, Cwd: "/job"})))
}

// maskPaths are the paths inside that are masked, sorted.
func maskPaths(p profile.Profile) []string {
	var out []string
	for _, m := range hidden(p) {
		out = append(out, m.inside()+" from "+m.Source)
	}
	slices.Sort(out)
	return out
}

func TestMaskMapping(t *testing.T) {
	bind := func(s string) profile.Bind {
		source, target, ok := strings.Cut(s, ":")
		if !ok {
			target = source
		}
		return profile.Bind{Source: source, Target: target, ReadOnly: true}
	}
	for _, tt := range []struct {
		name              string
		binds, hide, tmps []string
		want, not         []string // masks as "INSIDE from SOURCE"
	}{
		{name: "same path", binds: []string{"/etc"}, want: []string{"/etc/shadow from /etc/shadow", "/etc/ssh/*_key from /etc/ssh/*_key"}, not: []string{"/run from /run"}},
		{name: "elsewhere inside", binds: []string{"/etc:/host-etc"}, want: []string{"/host-etc/shadow from /etc/shadow"}, not: []string{"/etc/shadow from /etc/shadow"}},
		{name: "whole root elsewhere", binds: []string{"/:/host"}, want: []string{"/host/etc/shadow from /etc/shadow", "/host/run from /run", "/host/home/*/.ssh from /home/*/.ssh"}},
		{name: "from elsewhere", binds: []string{"/chroot/etc:/etc"}, want: []string{"/etc/shadow from /chroot/etc/shadow"}},
		{name: "named", binds: []string{"/etc", "/etc/shadow"}, not: []string{"/etc/shadow from /etc/shadow"}, want: []string{"/etc/gshadow from /etc/gshadow"}},
		{name: "named alone", binds: []string{"/etc/shadow"}, not: []string{"/etc/shadow from /etc/shadow"}},
		{name: "named under another path", binds: []string{"/root/.ssh:/keys"}, not: []string{"/keys from /root/.ssh"}},
		{name: "below a hidden one", binds: []string{"/", "/run/log"}, want: []string{"/run from /run"}},
		{name: "one home of many", binds: []string{"/home/alice"}, want: []string{"/home/alice/.ssh from /home/alice/.ssh", "/home/alice/.config/gcloud from /home/alice/.config/gcloud"}},
		{name: "one home elsewhere", binds: []string{"/home/alice:/job"}, want: []string{"/job/.ssh from /home/alice/.ssh"}},
		{name: "a home that is not one", binds: []string{"/data/alice:/home/alice"}, want: []string{"/home/alice/.ssh from /data/alice/.ssh"}},
		{name: "deeper bind wins", binds: []string{"/", "/etc:/etc", "/other:/root"}, want: []string{"/root/.ssh from /other/.ssh", "/etc/shadow from /etc/shadow"}, not: []string{"/root/.ssh from /root/.ssh"}},
		{name: "private directory", binds: []string{"/"}, tmps: []string{"/root", "/run"}, not: []string{"/root/.ssh from /root/.ssh", "/run from /run"}},
		{name: "asked for", binds: []string{"/opt"}, hide: []string{"/opt/secret", "/nowhere"}, want: []string{"/opt/secret from /opt/secret"}, not: []string{"/nowhere from /nowhere"}},
		{name: "asked for, and bound", binds: []string{"/opt", "/opt/secret"}, hide: []string{"/opt/secret"}, want: []string{"/opt/secret from /opt/secret"}},
		{name: "asked for with a star", binds: []string{"/srv/a:/data/a", "/srv/b:/data/b"}, hide: []string{"/data/*/key"}, want: []string{"/data/a/key from /srv/a/key", "/data/b/key from /srv/b/key"}},
		{name: "the whole root, hidden again", binds: []string{"/:/data"}, hide: []string{"/data"}, want: []string{"/data from /"}},
		{name: "same target twice", binds: []string{"/one:/etc", "/two:/etc"}, want: []string{"/etc/shadow from /two/shadow"}, not: []string{"/etc/shadow from /one/shadow"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := profile.Profile{Name: "x", Hide: tt.hide, TmpfsPaths: tt.tmps}
			for _, b := range tt.binds {
				p.Binds = append(p.Binds, bind(b))
			}
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			got := maskPaths(p)
			for _, w := range tt.want {
				if !slices.Contains(got, w) {
					t.Errorf("no mask %q in %q", w, got)
				}
			}
			for _, n := range tt.not {
				if slices.Contains(got, n) {
					t.Errorf("mask %q in %q", n, got)
				}
			}
		})
	}
}

func TestStar(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"*", "x", true}, {"a", "a", true}, {"a", "b", false}, {"*_key", "host_key", true}, {"*_key", "host_key.pub", false},
		{"ssh-*", "ssh-", true}, {"ssh-*", "xssh-", false}, {"a*b*c", "abbc", true}, {"a*b*c", "acb", false}, {"a*a", "a", false}, {"[x]", "x", false}, {"*", "?", true},
	} {
		if got := star(tt.pattern, tt.name); got != tt.want {
			t.Errorf("star(%q, %q) = %v", tt.pattern, tt.name, got)
		}
	}
}

// drawProfile draws profiles whose mounts meet each other and what is hidden.
func drawProfile(t *rapid.T) profile.Profile {
	// Short names, so that paths collide; and those that matter.
	name := rapid.SampledFrom([]string{"etc", "root", "home", "run", "shadow", ".ssh", "alice", "ssh", "a", "a!", "b", "x_key", ".aws", "config"})
	file := rapid.Custom(func(t *rapid.T) string {
		return "/" + path.Join(rapid.SliceOfN(name, 0, 4).Draw(t, "names")...)
	})
	deep := file.Filter(func(f string) bool { return f != "/" })
	p := profile.Profile{Name: "x", ClearEnv: true, NetworkIsolation: rapid.Bool().Draw(t, "net"), UserNamespaceIsolation: rapid.Bool().Draw(t, "user"),
		HostProc: rapid.Bool().Draw(t, "proc"), TmpfsPaths: rapid.SliceOfN(deep, 0, 3).Draw(t, "tmpfs"), Hide: rapid.SliceOfN(deep, 0, 3).Draw(t, "hide")}
	for range rapid.IntRange(0, 6).Draw(t, "binds") {
		b := profile.Bind{Source: file.Draw(t, "source"), Target: file.Draw(t, "target"), ReadOnly: rapid.Bool().Draw(t, "ro")}
		if rapid.Bool().Draw(t, "same") {
			b.Target = b.Source
		}
		p.Binds = append(p.Binds, b)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

// laid is where the mount options of a step put something, or "".
func laid(s Step) string {
	if s.Mask != nil {
		return s.Mask.inside()
	}
	switch s.Args[0] {
	case "--ro-bind", "--ro-bind-try", "--bind", "--bind-try":
		return s.Args[2]
	case "--proc", "--dev", "--tmpfs":
		return s.Args[1]
	}
	return ""
}

func TestParentsComeFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parents(t, Build(Spec{Profile: drawProfile(t), Argv: []string{"x"}}))
	})
}

// parents fails the test if a mount is laid after one that lies below it.
func parents(t interface{ Fatalf(string, ...any) }, steps []Step) {
	var seen []string
	for _, s := range steps {
		at := laid(s)
		if at == "" {
			continue
		}
		for _, before := range seen {
			if before != at && within(before, at) {
				t.Fatalf("%s is laid after %s and covers it", at, before)
			}
		}
		seen = append(seen, at)
	}
}

// view is a model of what the steps show: it looks up which path of the target
// lies at a path inside, or "" if that is private or masked.
func view(steps []Step, inside string) string {
	shown := ""
	for _, s := range steps {
		at := laid(s)
		switch {
		case at == "" || s.Mask == nil && !within(inside, at):
		case s.Mask != nil:
			if rest, ok := below(at, inside); ok && len(rest) == 0 || maskAbove(at, inside) {
				shown = ""
			}
		case strings.Contains(s.Args[0], "bind"):
			shown = path.Join(s.Args[1], strings.TrimPrefix(inside, at))
		default:
			shown = ""
		}
	}
	return shown
}

// maskAbove reports whether the pattern mask matches a directory above file.
func maskAbove(mask, file string) bool {
	for dir := file; dir != "/"; dir = path.Dir(dir) {
		if rest, ok := below(mask, dir); ok && len(rest) == 0 {
			return true
		}
	}
	return false
}

// TestNothingHiddenShows looks every hidden path of a target up in the model,
// under every path where a bind could show it.
func TestNothingHiddenShows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProfile(t)
		steps := Build(Spec{Profile: p, Argv: []string{"x"}})
		for _, pattern := range profile.DefaultHidden() {
			secret := strings.NewReplacer("/home/*", "/home/alice", "*_key", "x_key", "ssh-*", "ssh-1").Replace(pattern)
			for _, b := range p.Binds {
				if !within(secret, b.Source) || b.Source == secret {
					continue // not shown by b, or named
				}
				inside := path.Join(b.Target, strings.TrimPrefix(secret, strings.TrimSuffix(b.Source, "/")))
				named := slices.ContainsFunc(p.Binds, func(o profile.Bind) bool { return o.Target == inside || o.Source == secret })
				if got := view(steps, inside); got == secret && !named {
					t.Fatalf("%s shows %s\n%s", inside, secret, picture(steps))
				}
			}
		}
		for _, h := range p.Hide {
			if got := view(steps, h); got != "" && !slices.ContainsFunc(p.Binds, func(b profile.Bind) bool { return within(b.Target, h) && b.Target != h }) {
				t.Fatalf("hidden %s shows %s\n%s", h, got, picture(steps))
			}
		}
	})
}

func TestLine(t *testing.T) {
	p := builtin(t, "minimal")
	p.Binds = append(p.Binds, profile.Bind{Source: "/srv/it's", Target: "/data", ReadOnly: true})
	p.Hide = []string{"/data/private", "/data/gone"}
	line, err := Line(Spec{Profile: p, Argv: []string{"echo", "a b"}}, func(f string) (dir, ok bool) { return f == "/srv/it's/private", f != "/srv/it's/gone" })
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bwrap --die-with-parent ", "--ro-bind /dev/null /etc/shadow", `--ro-bind-try '/srv/it'\''s' /data`, "--tmpfs /data/private", "-- echo 'a b'"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	if strings.Contains(line, "gone") {
		t.Error("a mask for what does not exist")
	}
	if _, err := Line(Spec{Profile: p, Argv: []string{"a\x00"}}, func(string) (bool, bool) { return false, false }); err == nil {
		t.Error("NUL is accepted")
	}
}

// TestConfinementIsNoStream: what confines is in the arguments of the process
// that becomes bubblewrap, not in a stream that could end early.
func TestConfinementIsNoStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := Build(Spec{Profile: drawProfile(t), Argv: []string{"x"}, Env: map[string]string{"A": "b"}})
		env, options, err := optionText(steps)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(env, ";") {
			if !strings.HasPrefix(part, "a --setenv ") {
				t.Fatalf("the stream holds %q", part)
			}
		}
		if strings.Contains(options, "--setenv") || strings.Count(options, "--args 3") != 1 || strings.Index(options, "--args 3") < strings.Index(options, "--clearenv") {
			t.Fatalf("options: %s", options)
		}
	})
}

// FuzzBuild turns whatever parses as a profile into options and holds them to
// the invariants.
func FuzzBuild(f *testing.F) {
	for _, name := range profilefile.BuiltinNames() {
		data, err := profilefile.BuiltinSource(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, false, "x")
	}
	f.Add([]byte(`{"name":"x","binds":[{"source":"/it's","target":"/"},{"source":"/","target":"/*"}],"hide":["/*/a"],"environment":{"A":"a\nb"}}`), true, "a\nb'")
	f.Fuzz(func(t *testing.T, data []byte, asJSON bool, arg string) {
		src := profilefile.Source{Name: "x", Format: profilefile.TOML, Data: data, Dir: "/d"}
		if asJSON {
			src.Format = profilefile.JSON
		}
		p, err := profilefile.Parse(src)
		if err != nil {
			return
		}
		spec := Spec{Profile: p, Argv: []string{"echo", arg}}
		parents(t, Build(spec))
		head, err := header("NONCE", "MARK", spec)
		if strings.Contains(arg, "\x00") {
			if err == nil {
				t.Error("NUL is accepted")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(head, "\n"); n != 6 {
			t.Errorf("the header has %d lines:\n%s", n, head)
		}
		for _, must := range []string{"--die-with-parent", "--new-session", "--unshare-pid", "--cap-drop ALL", "/proc/sys /proc/sys", "--seccomp 7"} {
			if !strings.Contains(head, must) && (must != "/proc/sys /proc/sys" || !p.HostProc) {
				t.Errorf("no %s in:\n%s", must, head)
			}
		}
	})
}
