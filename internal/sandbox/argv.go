package sandbox

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline/profile"
)

// Spec is one command under one profile. It is all the confinement depends on.
type Spec struct {
	Profile profile.Profile
	Argv    []string          // the command; never empty
	Env     map[string]string // added to and overriding the profile's
	Cwd     string            // inside; "" means the profile's
}

// Step is a group of bubblewrap options, or a mask that applies only where the
// path exists on the target.
type Step struct {
	Args []string // options, if Mask is nil
	Env  bool     // they set the environment and stay out of process lists
	Mask *Mask
}

// Mask hides a path that a bind shows. A directory becomes an empty private
// one, anything else reads as a device that cannot be opened.
//
// BUG: a mask covers the file that is there when the command starts. If it is
// created, or replaced by rename as passwd(1) does, while the command runs, the
// new one is visible: the kernel drops mounts on a name that is replaced
// (__detach_mounts, fs/namespace.c).
type Mask struct {
	Source string // where the path lies on the target; "*" matches within a name
	Prefix string // where the bind takes it from; "" for "/"
	Target string // where the bind shows Prefix; "" for "/"
}

// inside is where the sandbox sees the path.
func (m Mask) inside() string { return path.Clean(m.Target + strings.TrimPrefix(m.Source, m.Prefix)) }

// Build turns spec into bubblewrap options, in order. It is pure: the same spec
// gives the same steps. The command itself is not among them.
//
// Sources: bwrap(1); for the read-only /proc/sys see the comment in
// procSteps.
func Build(spec Spec) []Step {
	p := spec.Profile
	steps := []Step{opt("--die-with-parent"), opt("--new-session")}
	steps = append(steps, namespaces(p)...)
	if p.ClearEnv {
		steps = append(steps, opt("--clearenv"))
	}
	steps = append(steps, opt("--cap-drop", "ALL"))
	steps = append(steps, opt("--hostname", cmp.Or(p.Hostname, "sandbox")))
	steps = append(steps, mounts(p)...)
	env := environment(spec)
	for _, k := range slices.Sorted(maps.Keys(env)) {
		steps = append(steps, Step{Args: []string{"--setenv", k, env[k]}, Env: true})
	}
	steps = append(steps, opt("--chdir", cmp.Or(spec.Cwd, p.Cwd, "/")))
	if filterOf(p) != nil {
		steps = append(steps, opt("--seccomp", strconv.Itoa(filterFD)))
	}
	if len(p.AdditionalArgs) > 0 {
		steps = append(steps, opt(p.AdditionalArgs...))
	}
	return steps
}

func opt(args ...string) Step { return Step{Args: args} }

func namespaces(p profile.Profile) []Step {
	var s []Step
	if p.UserNamespaceIsolation {
		// "-try": without it a kernel that forbids user namespaces would stop
		// root too, who does not need one.
		s = append(s, opt("--unshare-user-try"))
	}
	s = append(s, opt("--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"))
	if p.NetworkIsolation {
		s = append(s, opt("--unshare-net"))
	}
	return s
}

func environment(spec Spec) map[string]string {
	env := map[string]string{"PATH": profile.DefaultPath}
	maps.Copy(env, spec.Profile.Environment)
	maps.Copy(env, spec.Env)
	return env
}

// mount is one statement about one path inside.
type mount struct {
	path string
	rank int // for the same path: lower first, so that the last one counts
	step Step
}

func mounts(p profile.Profile) []Step {
	all := append(procMounts(p), mount{"/dev", 0, opt("--dev", "/dev")})
	for _, t := range p.TmpfsPaths {
		all = append(all, mount{t, 1, opt("--tmpfs", t)})
	}
	for _, b := range p.Binds {
		flag := "--ro-bind-try"
		if !b.ReadOnly {
			flag = "--bind-try"
		}
		all = append(all, mount{b.Target, 2, opt(flag, b.Source, b.Target)})
	}
	for _, m := range hidden(p) {
		all = append(all, mount{m.inside(), 3, Step{Mask: &m}})
	}
	slices.SortStableFunc(all, func(a, b mount) int {
		return cmp.Or(comparePaths(a.path, b.path), cmp.Compare(a.rank, b.rank))
	})
	steps := make([]Step, len(all))
	for i, m := range all {
		steps[i] = m.step
	}
	return steps
}

// procMounts gives a private /proc (or the host's) and covers what root could
// write there or should not read.
//
// bubblewrap covers /proc/sys itself only if access(2) says it is writable,
// which for root without capabilities it does not, although the files below
// are (cover_proc_dirs in bubblewrap.c, up to 0.11.1): root inside could set
// kernel.core_pattern and so run a program of its choice on the host. Binding
// it read-only makes that EROFS, and so does remounting /proc itself for
// whatever else the kernel offers there (dynamic_debug, mtrr, wakeup...). What
// /proc/self/fd leads to stays writable.
func procMounts(p profile.Profile) []mount {
	var m []mount
	if p.HostProc {
		m = append(m, mount{"/proc", 0, opt("--ro-bind", "/proc", "/proc")})
	} else {
		m = append(m, mount{"/proc", 0, opt("--proc", "/proc", "--remount-ro", "/proc")})
		for _, dir := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/scsi"} {
			flag := "--ro-bind-try"
			if dir == "/proc/sys" {
				flag = "--ro-bind"
			}
			m = append(m, mount{dir, 1, opt(flag, dir, dir)})
		}
	}
	for _, f := range hiddenProc() {
		m = append(m, mount{f, 1, Step{Mask: &Mask{Source: f}}})
	}
	return m
}

// hiddenProc lists what of /proc says more of the kernel than of processes.
func hiddenProc() []string {
	return []string{"/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug", "/proc/kallsyms"}
}

// hidden returns the masks of p that fall on something p shows: what it asks
// for by its path inside, and of the default ones, which p may name to have
// them, whatever a bind shows of them under their own or another path.
func hidden(p profile.Profile) []Mask {
	var masks []Mask
	add := func(b profile.Bind, rest []string) {
		m := Mask{Source: path.Join(append([]string{b.Source}, rest...)...), Prefix: strings.TrimSuffix(b.Source, "/"), Target: strings.TrimSuffix(b.Target, "/")}
		if !slices.Contains(masks, m) {
			masks = append(masks, m)
		}
	}
	for i, b := range p.Binds {
		for _, h := range p.Hide {
			if rest, ok := below(h, b.Target); ok && !covered(p, i, rest) {
				add(b, rest)
			}
		}
		for _, h := range append(profile.DefaultHidden(), hiddenProc()...) {
			for _, at := range []string{b.Target, b.Source} {
				if rest, ok := below(h, at); ok && len(rest) > 0 && !covered(p, i, rest) && !ownProc(b, rest) {
					add(b, rest)
				}
			}
		}
	}
	return masks
}

// below splits off what the pattern h says below dir. It reports false if dir
// is neither matched by the beginning of h nor by all of it.
func below(h, dir string) (rest []string, ok bool) {
	hs, ds := components(h), components(dir)
	if len(ds) > len(hs) {
		return nil, false
	}
	for i, d := range ds {
		if d != hs[i] && !star(hs[i], d) {
			return nil, false
		}
	}
	return hs[len(ds):], true
}

// star matches name against a pattern whose only special character is "*".
func star(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, parts[0])
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		if ok {
			_, name, ok = strings.Cut(name, part)
		}
	}
	return ok && strings.HasSuffix(name, last)
}

func components(p string) []string {
	if p == "/" {
		return nil
	}
	return strings.Split(strings.TrimPrefix(p, "/"), "/")
}

// covered reports whether, at rest below bind i, another mount of p shows
// instead of it: one that lies deeper, or a later one at the same path. A path
// that a mount names is covered too, so that it is not masked.
func covered(p profile.Profile, i int, rest []string) bool {
	target := p.Binds[i].Target
	at := path.Join(append([]string{target}, rest...)...)
	for j, b := range p.Binds {
		if within(at, b.Target) && (len(b.Target) > len(target) || b.Target == target && j > i) {
			return true
		}
	}
	return slices.ContainsFunc(p.TmpfsPaths, func(t string) bool { return within(at, t) && len(t) > len(target) })
}

// ownProc reports whether rest below b lies under the sandbox's own /proc, which
// procMounts takes care of.
func ownProc(b profile.Bind, rest []string) bool {
	at := path.Join(append([]string{b.Target}, rest...)...)
	return within(at, "/proc") && !within(b.Target, "/proc")
}

// within reports whether p is dir or lies below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// comparePaths orders parents before children, and patterns before the names
// they may match, so that a mount of such a name wins.
func comparePaths(a, b string) int {
	return slices.CompareFunc(components(a), components(b), func(a, b string) int {
		if pa, pb := strings.Contains(a, "*"), strings.Contains(b, "*"); pa != pb {
			return cmp.Compare(btoi(pb), btoi(pa))
		}
		return cmp.Compare(a, b)
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Line renders the bubblewrap command for people: what would be executed, with
// every mask as it applies where exists says that the path is there. dir tells
// a directory from a file.
func Line(spec Spec, exists func(file string) (dir, ok bool)) (string, error) {
	args := []string{"bwrap"}
	for _, s := range Build(spec) {
		if s.Mask == nil {
			args = append(args, s.Args...)
			continue
		}
		inside := s.Mask.inside()
		if strings.Contains(s.Mask.Source, "*") {
			continue
		}
		switch dir, ok := exists(s.Mask.Source); {
		case ok && dir:
			args = append(args, "--tmpfs", inside)
		case ok:
			args = append(args, "--ro-bind", "/dev/null", inside)
		}
	}
	args = append(append(args, "--"), spec.Argv...)
	line, err := words(args)
	if err != nil {
		return "", fmt.Errorf("show command: %w", err)
	}
	return line, nil
}
