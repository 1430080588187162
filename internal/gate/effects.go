package gate

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/review"
	"github.com/bowline-sh/bowline/plan"
)

// Judge asks the rules of effects about a plan.
func (g *Gate) Judge(p policy.Planned) (policy.Judgement, error) {
	rules, err := g.cfg.Policy()
	if err != nil {
		return policy.Judgement{}, err
	}
	if len(rules.Effects) == 0 {
		return rules.Judge(policy.Effects{}), nil
	}
	return rules.Judge(EffectsOf(p)), nil
}

// EffectsOf says what a plan does in the words of rules.
func EffectsOf(p policy.Planned) policy.Effects {
	e := policy.Effects{Target: p.Target, Requester: p.Who, Doubts: doubts(p.Plan)}
	n := names{contents: p.Contents, packages: map[string]bool{}, users: map[string]bool{}, units: map[string]bool{}}
	for _, op := range p.Plan.Ops {
		if op.Command != nil {
			c := policy.CommandOf(op.Command.Path, op.Command.Argv)
			e.Commands = append(e.Commands, c)
			n.command(c)
			continue
		}
		e.Files = append(e.Files, policy.FileEffect{Path: string(op.Change.Path), Kind: op.Change.Kind(), Setuid: setuid(*op.Change)})
		n.file(*op.Change)
	}
	n.unnamedPackages()
	for _, r := range review.New(review.Input{Plan: p.Plan, Contents: p.Contents}).Risks {
		e.Risks = append(e.Risks, policy.Risk{Class: string(r.Class), Severity: int(r.Severity)})
	}
	e.Packages, e.Users, e.Units = slices.Sorted(maps.Keys(n.packages)), slices.Sorted(maps.Keys(n.users)), slices.Sorted(maps.Keys(n.units))
	return e
}

// doubts are why only a person may approve a plan: the dry run says itself that it did
// not see all, or that the script did not do what it was written for.
func doubts(p plan.Plan) []string {
	var out []string
	if p.Exit != 0 {
		out = append(out, "a script that failed in the dry run")
	}
	if len(p.Warnings) > 0 {
		out = append(out, "a dry run that warns: "+p.Warnings[0])
	}
	if p.Truncated {
		out = append(out, "output of the dry run that was cut")
	}
	return out
}

// setuid reports whether a change leaves a file that gives rights to whoever runs it,
// and that did not do so with this content before.
func setuid(c change.Change) bool {
	const bits = 0o6000
	a, b := c.After, c.Before
	if a.Type != change.File {
		return false
	}
	caps := string(a.Xattrs["security.capability"])
	if a.Mode&bits == 0 && caps == "" {
		return false
	}
	return b.Type != change.File || a.Mode&bits&^b.Mode != 0 || a.SHA256 != b.SHA256 || a.UID != b.UID || a.GID != b.GID || caps != string(b.Xattrs["security.capability"])
}

// names finds out what a plan is about beside paths.
type names struct {
	contents               map[string][]byte
	packages, users, units map[string]bool
	database               bool // of packages
}

func (n *names) command(c policy.Command) {
	units, known := policy.UnitsOf(c)
	for _, u := range units {
		n.units[u] = true
	}
	if base := path.Base(c.Name()); !known && (base == "systemctl" || base == "service" || base == "rc-service") {
		n.units["?"] = true
	}
}

func (n *names) file(c change.Change) {
	p := string(c.Path)
	dir, base := path.Split(p)
	switch {
	case dir == "/var/lib/dpkg/info/":
		name, _, _ := strings.Cut(strings.TrimSuffix(base, path.Ext(base)), ":")
		n.packages[name] = true
	case slices.Contains([]string{"/var/lib/dpkg/status", "/lib/apk/db/installed", "/usr/lib/apk/db/installed"}, p) || strings.HasPrefix(p, "/var/lib/rpm/") || strings.HasPrefix(p, "/usr/lib/sysimage/rpm/"):
		n.database = true
	case slices.Contains([]string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid"}, p):
		n.accounts(c)
	}
	for _, root := range []string{"/etc/systemd/system/", "/etc/systemd/system.control/", "/run/systemd/system.control/", "/run/systemd/transient/", "/usr/local/lib/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/", "/run/systemd/system/"} {
		if rest, ok := strings.CutPrefix(p, root); ok && c.After.Type != change.Dir {
			n.units[unitOf(rest)] = true
		}
	}
	if strings.Contains(p, "/systemd/system-generators/") || strings.Contains(p, "/systemd/system-environment-generators/") {
		n.units["?"] = true // it writes units of any name
	}
	if dir == "/etc/init.d/" {
		n.units[base+".service"] = true
	}
}

// unnamedPackages: of a database that changed alone nobody can tell which package it is.
func (n *names) unnamedPackages() {
	if n.database && len(n.packages) == 0 {
		n.packages["?"] = true
	}
}

// unitOf is the unit that a file below a unit directory belongs to: itself, the unit of
// a drop-in, the unit that a link in NAME.wants enables.
func unitOf(rest string) string {
	first, inner, nested := strings.Cut(rest, "/")
	if nested && strings.HasSuffix(first, ".d") {
		unit := strings.TrimSuffix(first, ".d")
		// "service.d" is of every service, "foo-.service.d" of all that begin so, and
		// "foo@.service.d" of all instances: systemd.unit(5).
		if stem := strings.TrimSuffix(unit, path.Ext(unit)); path.Ext(unit) == "" || strings.HasSuffix(stem, "-") {
			return "?"
		}
		return unit
	}
	if nested {
		return path.Base(inner)
	}
	return first
}

// accounts names the lines that differ.
func (n *names) accounts(c change.Change) {
	before, okB := n.lines(c.Before)
	after, okA := n.lines(c.After)
	if !okB || !okA {
		n.users["?"] = true
		return
	}
	for l := range before {
		if !after[l] {
			n.users[account(l)] = true
		}
	}
	for l := range after {
		if !before[l] {
			n.users[account(l)] = true
		}
	}
}

func account(line string) string {
	name, _, ok := strings.Cut(line, ":")
	if !ok || name == "" {
		return "?"
	}
	return name
}

// lines are those of a file whose content is kept.
func (n *names) lines(s change.State) (map[string]bool, bool) {
	out := map[string]bool{}
	if s.Absent() {
		return out, true
	}
	content, ok := n.contents[s.SHA256]
	if s.Type != change.File || !ok && s.Size > 0 {
		return nil, false
	}
	for l := range strings.Lines(string(content)) {
		out[strings.TrimSuffix(l, "\n")] = true
	}
	return out, true
}
