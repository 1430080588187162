package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/target"
)

func pattern(t *testing.T, text string) Pattern {
	t.Helper()
	p, err := ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPatterns: what a rule that allows covers, and what one that denies may mean.
func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, text   string
		covers, mayBeIt bool
	}{
		{"ls", "ls", true, true},
		{"ls", "ls -l", false, true},
		{"ls *", "ls", true, true},
		{"ls *", "ls -l /etc", true, true},
		{"ls *", "ls-evil", false, false},
		{"date", "dateX", false, false},
		{"ls *", "/bin/ls x", true, true},
		{"ls *", "/tmp/ls x", false, true},
		{"ls *", "./ls x", false, true},
		{"/opt/x/check *", "/opt/x/check -a", true, true},
		{"/opt/*/check *", "/opt/a/b/check", false, false},
		{"systemctl status *", "systemctl status nginx", true, true},
		{"systemctl status *", "systemctl restart nginx", false, false},
		{"systemctl status *", "systemctl -H evil status nginx", false, true},
		{"systemctl status *", "systemctl status nginx -H evil", false, true},
		{"systemctl stop *", "systemctl --no-block stop nginx", false, true},
		{"systemctl * nginx", "systemctl status nginx", true, true},
		{"systemctl restart web-*", "systemctl restart web-1", true, true},
		{"systemctl restart web-*", "systemctl restart db", false, false},
		{"systemctl restart web-*", "systemctl restart web-1 db", false, true},
		{"cat /var/log/*", "cat /var/log/syslog", true, true},
		{"cat /var/log/*", "cat /var/log/nginx/error.log", false, true},
		{"cat /var/log/**", "cat /var/log/nginx/error.log", true, true},
		{"cat /var/log/**", "cat /var/log/../../etc/shadow", false, true},
		{"cat *", "cat $f", false, true},
		{"cat *", "cat x y z", true, true},
		{"find *", "find / -name x", true, true},
		{"find *", "find / -delete", false, true},
		{"find * -delete", "find / -delete", true, true},
		{"find *", "find / -fprintf /etc/passwd x", false, true},
		{"sort *", "sort x", true, true},
		{"sort *", "sort -o /etc/passwd x", false, true},
		{"sort *", "sort --outp=/etc/passwd x", false, true},
		{"sort *", "sort -rno/etc/passwd x", false, true},
		{"sed *", "sed -n 1,5p x", true, true},
		{"sed *", "sed s/a/b/g x", true, true},
		{"sed *", "sed -i s/a/b/ x", false, true},
		{"sed *", "sed s/a/b/e x", false, true},
		{"sed *", "sed 'w /etc/passwd' x", false, true},
		{"sed *", "sed --in-place s/a/b/ x", false, true},
		{"sed *", "sed -f /tmp/x y", false, true},
		{"awk *", "awk '{print $1}' x", true, true},
		{"awk *", "awk 'BEGIN{system(\"rm x\")}'", true, true}, // named by its rule: see the next
		{"*", "awk 'BEGIN{system(\"rm x\")}'", false, true},
		{"*", "id", true, true},
		{"rm *", "python3 -c x", false, true},
		{"python3 *", "python3 -c x", true, true},
		{"ip *", "ip addr", true, true},
		{"ip *", "ip addr add 1.2.3.4 dev eth0", false, true},
		{"ip *", "ip netns exec x sh", false, true},
		{"journalctl *", "journalctl -u nginx", true, true},
		{"journalctl *", "journalctl --vacuum-time=1s", false, true},
		{"journalctl *", "journalctl --vac=1s", false, true},
		{"date *", "date -s 2020-01-01", false, true},
		{"hostname *", "hostname evil", false, true},
		{"uniq *", "uniq a b", false, true},
		{"tar *", "tar tf x.tar", true, true},
		{"tar *", "tar tf x.tar --checkpoint-action=exec=sh", false, true},
		{"tar *", "tar xf x.tar", false, true},
		{"rm -rf *", "rm -rf x", true, true},
		{"rm *", "/opt/evil/rm x", false, true},
		{"mkfs*", "mkfs.ext4 /dev/sda", false, true},
		{"curl *", "curl -o /etc/passwd http://x", false, true},
	} {
		r := Script("sh", tt.text)
		c := r.Commands[len(r.Commands)-1]
		p := pattern(t, tt.pattern)
		if got := p.Covers(c); got != tt.covers {
			t.Errorf("%q covers %q: %v (edges %v, opaque %q)", tt.pattern, tt.text, got, c.Edges, c.Opaque)
		}
		if got := p.MayMean(c); got != tt.mayBeIt {
			t.Errorf("%q may mean %q: %v", tt.pattern, tt.text, got)
		}
	}
	for _, bad := range []string{"", "  ", "ls; rm x", "ls | x", "echo $x", "echo 'x'", "ls\nrm"} {
		if _, err := ParsePattern(bad); err == nil {
			t.Errorf("%q is taken for a pattern", bad)
		}
	}
}

func TestOnlyReads(t *testing.T) {
	for text, want := range map[string]bool{
		"cat x": true, "grep -r a /etc | sort | uniq -c": true, "find / -name x": true, "find / -delete": false, "cat x > y": false, "cat x > /dev/null": true,
		"cat $x": false, "ls; id": false, "cd /; ls": true, "sed -n 1p x": false, "sort -o x y": false, "cat `id`": false, "sudo cat x": false, "env cat x": true,
		"LD_PRELOAD=x cat y": false, "": false, "tail -f x": true,
	} {
		if got := Script("sh", text).OnlyReads(); got != want {
			t.Errorf("%q only reads: %v", text, got)
		}
	}
}

func rule(t *testing.T, r Rule, commands ...string) Rule {
	t.Helper()
	for _, c := range commands {
		r.Commands = append(r.Commands, pattern(t, c))
	}
	targets, groups := world()
	if field, err := r.Prepare(targets, groups); err != nil {
		t.Fatal(field, err)
	}
	return r
}

func world() ([]target.Target, map[string][]string) {
	return []target.Target{{Name: "web1", Labels: map[string]string{"env": "prod"}}, {Name: "web2"}, {Name: "db1", Labels: map[string]string{"env": "prod"}}}, map[string][]string{"web": {"web*"}}
}

func who(t *testing.T, text string) []Who {
	t.Helper()
	w, err := ParseWho(text)
	if err != nil {
		t.Fatal(err)
	}
	return []Who{w}
}

// TestFirstMatchDecides: order, who, where, with what, and the default.
func TestFirstMatchDecides(t *testing.T) {
	targets, groups := world()
	p := Policy{Targets: targets, Groups: groups, Rules: []Rule{
		rule(t, Rule{Name: "look", Who: who(t, "mcp"), Do: []string{Run, Read}, Writes: []PathGlob{"/tmp/*"}, Decision: Allow}, "uptime", "systemctl status *", "cat *"),
		rule(t, Rule{Name: "plans on web", Who: who(t, "mcp:claude*"), Do: []string{Plan}, On: "@web", Decision: Allow}),
		rule(t, Rule{Name: "models", Who: who(t, "mcp"), Decision: Deny}),
		rule(t, Rule{Name: "prod asks", Who: who(t, "user:ann"), Do: []string{Apply}, On: "env=prod", Decision: Ask}),
		rule(t, Rule{Name: "script", Do: []string{Run}, Profiles: []string{"script*"}, On: "db1", Decision: Deny}),
		rule(t, Rule{Name: "tokens", Who: who(t, "token:ci-*"), Do: []string{Rollback, Copy}, Decision: Deny}),
		rule(t, Rule{Name: "no disks", Decision: Deny}, "mkfs*"),
	}}
	model := Actor{User: "ann", Surface: "mcp", Client: "claude-code"}
	ann, token := Actor{User: "ann", Surface: "cli"}, Actor{User: "ann", Surface: "api", Client: "token ci-1"}
	sh := func(text string) []string { return []string{"sh", "-c", text} }
	for _, tt := range []struct {
		name string
		r    Request
		want Decision
		by   string
	}{
		{"model looks", Request{Who: model, Do: Run, Target: "web1", Argv: sh("uptime; systemctl status x")}, Allow, "look"},
		{"model reads", Request{Who: model, Do: Run, Target: "web1", Argv: []string{"cat", "x"}}, Allow, "look"},
		{"model looks and more", Request{Who: model, Do: Run, Target: "web1", Argv: sh("uptime; id")}, Deny, "models"},
		{"model writes where it may", Request{Who: model, Do: Run, Target: "web1", Argv: sh("cat x > /tmp/y")}, Allow, "look"},
		{"model writes elsewhere", Request{Who: model, Do: Run, Target: "web1", Argv: sh("cat x > /etc/y")}, Deny, "models"},
		{"model, not seen", Request{Who: model, Do: Run, Target: "web1", Argv: sh("$X")}, Deny, "models"},
		{"model, script", Request{Who: model, Do: Run, Target: "web1", Argv: []string{"sh", "-s", "--"}, Script: []byte("uptime\n")}, Allow, "look"},
		{"model, script and more", Request{Who: model, Do: Run, Target: "web1", Argv: []string{"sh", "-s", "--"}, Script: []byte("uptime\nid\n")}, Deny, "models"},
		{"model, unknown input", Request{Who: model, Do: Run, Target: "web1", Argv: []string{"sh"}}, Deny, "models"},
		{"model plans on web", Request{Who: model, Do: Plan, Target: "web2", Script: []byte("rm x")}, Allow, "plans on web"},
		{"model plans on db", Request{Who: model, Do: Plan, Target: "db1", Script: []byte("rm x")}, Deny, "models"},
		{"other model plans", Request{Who: Actor{Surface: "mcp", Client: "x"}, Do: Plan, Target: "web1", Script: []byte("rm x")}, Deny, "models"},
		{"ann on prod", Request{Who: ann, Do: Apply, Target: "web1"}, Ask, "prod asks"},
		{"ann elsewhere", Request{Who: ann, Do: Apply, Target: "web2"}, Allow, ""},
		{"ann's model is not ann", Request{Who: model, Do: Apply, Target: "web1"}, Deny, "models"},
		{"profile", Request{Who: ann, Do: Run, Target: "db1", Profile: "script-x", Argv: []string{"id"}}, Deny, "script"},
		{"reading is no run", Request{Who: ann, Do: Run, Target: "db1", Profile: "script-x", Argv: []string{"ls"}}, Allow, ""},
		{"token", Request{Who: token, Do: Copy, Target: "web1"}, Deny, "tokens"},
		{"other token", Request{Who: Actor{User: "ann", Surface: "api", Client: "token x"}, Do: Copy, Target: "web1"}, Allow, ""},
		{"disks", Request{Who: ann, Do: Run, Target: "web1", Argv: sh("nice env mkfs.ext4 x")}, Deny, "no disks"},
		{"disks in a plan", Request{Who: ann, Do: Plan, Target: "web1", Script: []byte("#!/bin/bash -e\nif x; then mkfs x; fi\n")}, Deny, "no disks"},
		{"perhaps disks", Request{Who: ann, Do: Run, Target: "web1", Argv: sh("$X y")}, Deny, "no disks"},
		{"perhaps disks, in a language", Request{Who: ann, Do: Plan, Target: "web1", Script: []byte("#!/usr/bin/env python3\n")}, Deny, "no disks"},
		{"no disks", Request{Who: ann, Do: Run, Target: "web1", Argv: sh("id; rm mkfs")}, Allow, ""},
	} {
		v := p.Decide(tt.r)
		if v.Decision != tt.want || v.Rule != tt.by {
			t.Errorf("%s: %s by %q (%s), want %s by %q", tt.name, v.Decision, v.Rule, v.Reason, tt.want, tt.by)
		}
		if v.Decision != Allow && v.Hint == "" {
			t.Errorf("%s: no hint", tt.name)
		}
	}
}

// TestUnknownLabels: a rule whose selector can no longer be told denies, and allows
// nobody.
func TestUnknownLabels(t *testing.T) {
	for _, d := range []Decision{Allow, Deny} {
		r := rule(t, Rule{Name: "r", On: "web1,zone=a", Decision: d})
		targets, _ := world()
		p := Policy{Targets: targets, Rules: []Rule{r}}
		if step := p.Decide(Request{Do: Apply, Target: "web1"}).Steps[0]; step.Matched != (d == Deny) {
			t.Errorf("%s: matched is %v", d, step.Matched)
		}
		if w := p.Warnings(); len(w) == 0 || !strings.Contains(w[0], "matches no target now") {
			t.Errorf("warnings: %q", w)
		}
	}
}

func TestShadowedRules(t *testing.T) {
	any, mcp, claude, person, ann := who(t, "any"), who(t, "mcp"), who(t, "mcp:claude"), who(t, "person"), who(t, "user:ann")
	for _, tt := range []struct {
		name     string
		a, b     Rule
		shadowed bool
	}{
		{"everything", Rule{}, Rule{Who: mcp, Do: []string{Run}}, true},
		{"any", Rule{Who: any}, Rule{Who: person}, true},
		{"client of mcp", Rule{Who: mcp}, Rule{Who: claude}, true},
		{"mcp is more than a client", Rule{Who: claude}, Rule{Who: mcp}, false},
		{"a user is a person", Rule{Who: person}, Rule{Who: ann}, true},
		{"fewer verbs", Rule{Do: []string{Run}}, Rule{Do: []string{Run, Plan}}, false},
		{"commands", Rule{Commands: []Pattern{pattern(t, "ls")}}, Rule{}, false},
		{"other targets", Rule{On: "web1"}, Rule{On: "web2"}, false},
		{"some targets", Rule{On: "web1"}, Rule{}, false},
	} {
		if got := tt.a.shadows(tt.b); got != tt.shadowed {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestParsers(t *testing.T) {
	for text, good := range map[string]bool{"any": true, "person": true, "mcp": true, "mcp:claude*": true, "user:ann": true, "token:x": true, "token": true,
		"user": false, "any:x": false, "person:x": false, "mcp:": false, "": false, "claude": false, "MCP": false} {
		if _, err := ParseWho(text); (err == nil) != good {
			t.Errorf("who %q: %v", text, err)
		}
	}
	for text, good := range map[string]bool{"60/min": true, "1/s": true, "5/h": true, "1/d": true, "0/min": false, "-1/min": false, "60": false, "60/": false, "x/min": false, "1.5/s": false, "1e3/s": false, "60/week": false} {
		if _, _, err := ParseRate(text); (err == nil) != good {
			t.Errorf("rate %q: %v", text, err)
		}
	}
	for _, tt := range []struct {
		glob, path string
		want       bool
	}{
		{"/srv/**", "/srv", true}, {"/srv/**", "/srv/a/b", true}, {"/srv/**", "/srvx", false}, {"/srv/*", "/srv/a", true}, {"/srv/*", "/srv/a/b", false},
		{"/**/x", "/a/b/x", true}, {"/**/x", "/x", true}, {"/a/**/x", "/a/x", true}, {"/etc/*.conf", "/etc/a.conf", true}, {"/etc/?", "/etc/ab", false}, {"/**", "/a", true},
	} {
		if got := PathGlob(tt.glob).Match(tt.path); got != tt.want {
			t.Errorf("%s matches %s: %v", tt.glob, tt.path, got)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// TestStrictestWins over the effects of plans.
func TestStrictestWins(t *testing.T) {
	auto := EffectRule{Name: "auto", Paths: []PathGlob{"/srv/app/**"}, Units: []string{"app"}, Classes: []string{"units"}, Severity: Medium, Outcome: AutoApprove}
	some := EffectRule{Name: "some deletions", Paths: []PathGlob{"/srv/**"}, Deleted: ptr(2), Packages: []string{"nginx*"}, Users: []string{"svc-*"}, Setuid: ptr(true), Changed: ptr(4), Commands: []Pattern{pattern(t, "sysctl -w *")}, Outcome: AutoApprove}
	two := EffectRule{Name: "two", Classes: []string{"sudoers"}, Outcome: RequireTwo}
	many := EffectRule{Name: "many", Deleted: ptr(10), Outcome: RequireTwo}
	review := EffectRule{Name: "review", Severity: High, Outcome: RequireApproval}
	never := EffectRule{Name: "never", Paths: []PathGlob{"/etc/shadow", "/boot/**"}, Outcome: DenyPlan}
	setuid := EffectRule{Name: "setuid", Setuid: ptr(true), Who: who(t, "mcp"), Outcome: DenyPlan}
	both := EffectRule{Name: "both", Paths: []PathGlob{"/opt/**"}, Kinds: []change.Kind{change.Delete}, Users: []string{"*"}, Outcome: DenyPlan}
	units := EffectRule{Name: "unit", Units: []string{"sshd"}, Outcome: DenyPlan}
	pkgs := EffectRule{Name: "package", Packages: []string{"linux-*"}, Outcome: DenyPlan}
	cmds := EffectRule{Name: "command", Commands: []Pattern{pattern(t, "reboot *")}, Outcome: DenyPlan}
	p := Policy{Effects: []EffectRule{auto, some, two, many, review, never, setuid, both, units, pkgs, cmds}}
	mod := func(paths ...string) []FileEffect {
		var out []FileEffect
		for _, x := range paths {
			out = append(out, FileEffect{Path: x, Kind: change.Modify})
		}
		return out
	}
	del := func(n int, path string) []FileEffect {
		return slices.Repeat([]FileEffect{{Path: path, Kind: change.Delete}}, n)
	}
	cmd := func(argv ...string) []Command { return []Command{CommandOf(argv[0], argv)} }
	mcp := Actor{Surface: "mcp"}
	for _, tt := range []struct {
		name string
		e    Effects
		want Outcome
		by   string
	}{
		{"nothing speaks of it", Effects{Files: mod("/etc/motd")}, RequireApproval, ""},
		{"within", Effects{Files: mod("/srv/app/x")}, AutoApprove, "auto"},
		{"within, with its unit", Effects{Files: mod("/srv/app/x"), Commands: cmd("/usr/bin/systemctl", "restart", "app"), Units: []string{"app.service"}, Risks: []Risk{{"units", Medium}}}, AutoApprove, "auto"},
		{"another unit", Effects{Commands: cmd("/usr/bin/systemctl", "restart", "app", "db"), Units: []string{"app.service", "db.service"}}, RequireApproval, ""},
		{"units by an option nobody knows", Effects{Commands: cmd("/usr/bin/systemctl", "--root=/x", "restart", "app")}, RequireApproval, ""},
		{"partly outside", Effects{Files: mod("/srv/app/x", "/etc/x")}, RequireApproval, ""},
		{"a deletion too many", Effects{Files: del(1, "/srv/app/x")}, AutoApprove, "some deletions"},
		{"deletions too many", Effects{Files: del(3, "/srv/app/x")}, RequireApproval, ""},
		{"changes too many", Effects{Files: mod("/srv/1", "/srv/2", "/srv/3", "/srv/4", "/srv/5")}, RequireApproval, ""},
		{"a risk it does not name", Effects{Files: mod("/srv/app/x"), Risks: []Risk{{"secrets", Low}}}, RequireApproval, ""},
		{"a risk too high", Effects{Files: mod("/srv/app/x"), Risks: []Risk{{"units", High}}}, RequireApproval, "review"},
		{"doubts", Effects{Files: mod("/srv/app/x"), Doubts: []string{"w"}}, RequireApproval, ""},
		{"package", Effects{Files: mod("/srv/x"), Packages: []string{"nginx-core"}}, AutoApprove, "some deletions"},
		{"other package", Effects{Files: mod("/srv/x"), Packages: []string{"nginx", "vim"}}, RequireApproval, ""},
		{"unknown package may be the kernel", Effects{Files: mod("/srv/x"), Packages: []string{"?"}}, DenyPlan, "package"},
		{"user", Effects{Files: mod("/srv/x"), Users: []string{"svc-a"}}, AutoApprove, "some deletions"},
		{"root", Effects{Files: mod("/srv/x"), Users: []string{"root"}}, RequireApproval, ""},
		{"setuid by a person", Effects{Files: []FileEffect{{Path: "/srv/x", Setuid: true}}}, AutoApprove, "some deletions"},
		{"setuid by a model", Effects{Requester: mcp, Files: []FileEffect{{Path: "/srv/x", Setuid: true}}}, DenyPlan, "setuid"},
		{"command", Effects{Commands: cmd("/sbin/sysctl", "-w", "a=1")}, RequireApproval, ""},
		{"two persons", Effects{Files: mod("/srv/app/x"), Risks: []Risk{{"sudoers", Medium}}}, RequireTwo, "two"},
		{"many deletions", Effects{Files: del(11, "/srv/app/x")}, RequireTwo, "many"},
		{"denied beats two", Effects{Files: mod("/boot/x"), Risks: []Risk{{"sudoers", High}}}, DenyPlan, "never"},
		{"all that it names", Effects{Files: del(1, "/opt/x"), Users: []string{"x"}}, DenyPlan, "both"},
		{"not all that it names", Effects{Files: mod("/opt/x"), Users: []string{"x"}}, RequireApproval, ""},
		{"unit", Effects{Units: []string{"sshd.service"}}, DenyPlan, "unit"},
		{"unknown unit", Effects{Units: []string{"?"}}, DenyPlan, "unit"},
		{"command by another path", Effects{Commands: cmd("/opt/x/reboot")}, DenyPlan, "command"},
	} {
		j := p.Judge(tt.e)
		if j.Outcome != tt.want || j.Rule != tt.by {
			t.Errorf("%s: %s by %q (%s), want %s by %q", tt.name, j.Outcome, j.Rule, j.Reason, tt.want, tt.by)
		}
	}
}

// TestTokensAreNoPersons: who acts with a token is a person in a browser, and a program
// elsewhere.
func TestTokensAreNoPersons(t *testing.T) {
	for _, tt := range []struct {
		a    Actor
		want string
	}{
		{Actor{User: "ann", Surface: "cli"}, "any person user:ann"},
		{Actor{User: "ann", Surface: "web", Client: "token laptop"}, "any person user:ann"},
		{Actor{User: "ann", Surface: "api", Client: "token laptop"}, "any token token:laptop"},
		{Actor{User: "ann", Surface: "mcp", Client: "token abcdefghij laptop"}, "any mcp mcp:laptop token token:laptop"},
		{Actor{User: "ann", Surface: "mcp", Client: "laptop"}, "any mcp mcp:laptop"},
	} {
		var got []string
		for _, text := range []string{"any", "person", "user:ann", "mcp", "mcp:laptop", "token", "token:laptop", "user:bob", "token:x"} {
			if who(t, text)[0].matches(tt.a) {
				got = append(got, text)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%+v is %q, want %q", tt.a, got, tt.want)
		}
	}
}
