package config

import (
	"cmp"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/target"
)

func (b *builder) build(f file) {
	for _, name := range sorted(f.Targets) {
		t := b.target(name, f.Targets[name])
		b.add(t, []string{"targets", name})
		if table := f.Targets[name].Box; table != nil {
			b.box(t, *table)
		}
	}
	for _, name := range sorted(f.Executor) {
		key := []string{"executor", name}
		if _, twice := f.Targets[name]; twice {
			b.fault(key, "a target of this name is defined in [targets] too")
			continue
		}
		b.add(b.older(name, f.Executor[name]), key)
	}
	slices.SortFunc(b.cfg.targets, func(x, y target.Target) int {
		return cmp.Or(b.cfg.lines[x.Name]-b.cfg.lines[y.Name], strings.Compare(x.Name, y.Name))
	})
	if !b.has(target.LocalName) {
		b.cfg.targets = append(b.cfg.targets, target.Target{Name: target.LocalName, Kind: target.Local})
	}
	b.choices(f)
	b.groups(f.Groups)
	b.audit(f.Audit)
	b.cfg.Approval = Approval{TwoPerson: f.Approval.TwoPerson, RequireSignature: f.Approval.RequireSignature, Sign: f.Approval.Sign,
		KeyFile: b.ownPath([]string{"approval", "key_file"}, f.Approval.KeyFile)}
	b.cfg.Transfer = Transfer{Allow: b.targetPaths("allow", f.Transfer.Allow), Refuse: b.targetPaths("refuse", f.Transfer.Refuse)}
	if f.Transfer.Allow != nil && len(f.Transfer.Allow) == 0 {
		b.fault([]string{"transfer", "allow"}, "an empty list would allow nothing; leave it out to allow everything")
	}
	b.link(f.Link)
	b.cfg.Store = f.Store
	b.policy(f.Policy)
	b.notify(f.Notify)
	b.serve(f.Serve)
}

// defaultPersist is how long links stay open between invocations.
const defaultPersist = 10 * time.Minute

func (b *builder) link(l fileLink) {
	switch l.Persist {
	case "":
		b.cfg.Persist = defaultPersist
	case "off":
	default:
		d, err := time.ParseDuration(l.Persist)
		if err != nil || d < time.Second || d > 24*time.Hour {
			b.fault([]string{"link", "persist"}, "%q: use a time from 1s to 24h, as 10m, or off", l.Persist)
		}
		b.cfg.Persist = d
	}
}

// targetPaths reads a list of paths on targets. There is no "~" in them: each
// target has its own.
func (b *builder) targetPaths(key string, list []string) []string {
	var out []string
	for _, p := range list {
		if !path.IsAbs(p) || strings.ContainsRune(p, 0) {
			b.fault([]string{"transfer", key}, "%q must be absolute", p)
			continue
		}
		out = append(out, path.Clean(p))
	}
	return out
}

func (b *builder) has(name string) bool {
	return slices.ContainsFunc(b.cfg.targets, func(t target.Target) bool { return t.Name == name })
}

func (b *builder) add(t target.Target, key []string) {
	b.check(t, key)
	b.cfg.targets = append(b.cfg.targets, t)
	b.cfg.lines[t.Name] = b.syntax.line(key)
}

// choices reads what names targets.
func (b *builder) choices(f file) {
	b.known([]string{"default_target"}, f.DefaultTarget)
	b.known([]string{"default_executor"}, f.DefaultExecutor)
	b.cfg.DefaultTarget = cmp.Or(f.DefaultTarget, f.DefaultExecutor)
	if f.DefaultExecutor != "" {
		if f.DefaultTarget != "" && f.DefaultTarget != f.DefaultExecutor {
			b.note([]string{"default_executor"}, "has no effect beside default_target")
		} else {
			b.note([]string{"default_executor"}, "is the older name of default_target; it still works")
		}
	}
	b.cfg.Profile = cmp.Or(f.Profile, profile.DefaultName)
	if f.AllowedTargets == nil {
		return
	}
	b.cfg.allowed, b.cfg.limited = *f.AllowedTargets, true
	for _, name := range b.cfg.allowed {
		if name == "" {
			b.fault([]string{"allowed_targets"}, "a name is empty")
		}
		b.known([]string{"allowed_targets"}, name)
	}
}

func (b *builder) known(key []string, name string) {
	if name != "" && !b.has(name) {
		b.fault(key, "there is no target %q%s", name, suggest(name, b.cfg.names()))
	}
}

func (b *builder) groups(groups map[string][]string) {
	for _, name := range sorted(groups) {
		key := []string{"groups", name}
		if err := target.ValidName(name); err != nil {
			b.fault(key, "%v", strings.Replace(err.Error(), "target name", "group name", 1))
			continue
		}
		for _, member := range groups[name] {
			s, err := target.ParseSelector(member)
			if err == nil {
				err = s.Check(b.cfg.targets, groups)
			}
			if err != nil {
				b.fault(key, "%v", err)
			}
		}
	}
}

// minSegment keeps the number of audit segments sane.
const minSegment = 64 << 10

func (b *builder) audit(a fileAudit) {
	b.cfg.Audit = Audit{Dir: b.ownPath([]string{"audit", "dir"}, a.Dir), Secrets: a.Secrets}
	if a.Dir != "" && !filepath.IsAbs(b.cfg.Audit.Dir) {
		b.fault([]string{"audit", "dir"}, "%q must be absolute", a.Dir)
	}
	if a.MaxSize == "" {
		return
	}
	n, err := profile.ParseSize(a.MaxSize)
	if err != nil || n < minSegment {
		b.fault([]string{"audit", "max_size"}, "%q: use a size of at least 64KiB", a.MaxSize)
	}
	b.cfg.Audit.MaxSize = n
}

func (b *builder) target(name string, f fileTarget) target.Target {
	key := []string{"targets", name}
	if f.Helper != "" && f.Helper != "auto" && f.Helper != "never" {
		b.fault(append(key, "helper"), "%q: use auto or never", f.Helper)
	}
	return target.Target{
		Name: name, Kind: target.Kind(cmp.Or(f.Type, string(target.SSH))), Host: f.Host, User: f.User, Port: b.port(key, f.Port),
		KeyFile:    b.ownPath(append(key, "key_file"), f.KeyFile),
		KnownHosts: b.ownPath(append(key, "known_hosts"), f.KnownHosts),
		Profile:    f.Profile, Become: f.Become, Jump: f.Jump, Labels: f.Labels,
		Disabled: f.Enabled != nil && !*f.Enabled, Password: f.Password, NoHelper: f.Helper == "never", AllowLoopback: f.AllowLoopback,
		TokenFile: b.ownPath(append(key, "token_file"), f.TokenFile), Fingerprint: f.Fingerprint,
	}
}

// older reads a table of the form Shannot had.
func (b *builder) older(name string, f fileExecutor) target.Target {
	key := []string{"executor", name}
	b.note(key, "is the older form of [targets.%s]; it still works", tomlKey(name))
	if f.Type != string(target.SSH) && f.Type != string(target.Local) {
		b.fault(append(key, "type"), "%q: use ssh or local", f.Type)
		f.Type = string(target.Local) // told; do not tell again
	}
	if f.StrictHostKey != nil && !*f.StrictHostKey {
		b.note(append(key, "strict_host_key"), "= false is NOT honoured: host keys are always checked")
	}
	if f.ConnectionPoolSize != nil {
		b.note(append(key, "connection_pool_size"), "is not needed and has no effect")
	}
	if f.BwrapPath != "" {
		b.note(append(key, "bwrap_path"), "has no effect: bwrap is found in PATH")
	}
	return target.Target{
		Name: name, Kind: target.Kind(f.Type), Host: f.Host, User: f.Username, Port: b.port(key, f.Port), Profile: f.Profile,
		KeyFile:    b.ownPath(append(key, "key_file"), f.KeyFile),
		KnownHosts: b.ownPath(append(key, "known_hosts"), f.KnownHosts),
	}
}

func (b *builder) port(key []string, p *int) int {
	if p == nil {
		return 0
	}
	if *p < 1 || *p > 65535 {
		b.fault(append(key, "port"), "%d: use 1 to 65535", *p)
		return 0
	}
	return *p
}

// check reports what is wrong with a target, each field under its own key:
// Validate tells the first fault of a value, so fields are tried one by one in
// a target that is good otherwise.
func (b *builder) check(t target.Target, key []string) {
	if err := target.ValidName(t.Name); err != nil {
		b.fault(key, "%v", err)
		return
	}
	if t.Name == target.LocalName && t.Kind != target.Local {
		b.fault(key, "this name means this machine; give another host another name")
		return
	}
	good := target.Target{Name: t.Name, Kind: target.SSH, Host: "host"}
	try := func(field string, set func(*target.Target)) {
		probe := good
		set(&probe)
		if err := probe.Validate(); err != nil {
			b.fault(append(key, field), "%v", err)
		}
	}
	try("type", func(p *target.Target) { p.Kind = t.Kind })
	if t.Kind != target.SSH && t.Kind != target.HTTPS {
		return
	}
	user := "user"
	if key[0] == "executor" {
		user = "username"
	}
	try("host", func(p *target.Target) { p.Host = t.Host })
	try(user, func(p *target.Target) { p.User = t.User })
	try("become", func(p *target.Target) { p.Become = t.Become })
	try("fingerprint", func(p *target.Target) { p.Fingerprint = t.Fingerprint })
	try("labels", func(p *target.Target) { p.Labels = t.Labels })
	b.jump(t, key)
}

// jump is a target's name, an address, a list of them, or none, as for ssh.
func (b *builder) jump(t target.Target, key []string) {
	if t.Jump == "" || t.Jump == "none" {
		return
	}
	for hop := range strings.SplitSeq(t.Jump, ",") {
		hop = strings.TrimSpace(hop)
		if _, err := target.ParseAddress(hop); err != nil {
			b.fault(append(key, "jump"), "%v", err)
		}
		if hop == t.Name {
			b.fault(append(key, "jump"), "%q is the target itself", hop)
		}
	}
}

// ownPath replaces a leading "~/" by the home directory of this account.
func (b *builder) ownPath(key []string, p string) string {
	out, ok := expand(p, b.home)
	if !ok {
		b.fault(key, "%q: only \"~/\", your own home directory, is known here", p)
	}
	return out
}

func expand(p, home string) (string, bool) {
	switch {
	case !strings.HasPrefix(p, "~"):
		return p, true
	case home != "" && (p == "~" || strings.HasPrefix(p, "~/")):
		return filepath.Join(home, p[1:]), true
	}
	return p, false
}
