package policy

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// hidden are texts that run canary where a parser may not see it.
var hidden = []string{
	"{ head -c 5 >/dev/null; sh; } <<'E'\n#### canary\nE\n",
	"{ read -r a; sh; } <<'E'\ncat <<'Q'\ncanary\nQ\nE\n",
	"sh -c 'read -r a; sh' <<'E'\ncat <<'Q'\ncanary\nQ\nE\n",
	"find . -maxdepth 0 -exec head -c5 \\; -exec sh \\; <<'E'\n#### canary\nE\n",
	"LANG=$(head -n1) sh <<'E'\ncat <<'Q'\ncanary\nQ\nE\n",
	"jobs -x canary",
	"sleep 0 & wait -n -p 'a[$(canary)]'",
	"o=-v; [ $o 'a[$(canary)]' ]",
	"o=-v; [ \"$o\" 'a[$(canary)]' ]",
	"x='-v a[$(canary)] -o y'; [ $x = y ]",
	"x='canary;'; trap \"$x-p\" EXIT",
	"env '@=1' canary",
	"env 1=1 canary",
	"env =1 canary",
	"env a-b=1 canary",
	"flock ./l --command canary",
	"x='-exec canary ;'; find . -maxdepth 0 $x",
	"su -c ls root -c canary",
	"script -c ls /dev/null -c canary",
	"runuser root -c canary",
	"split --filter=canary /etc/passwd",
	"sed -n '1e canary' /etc/passwd",
	"sed -n -e '1e canary' /etc/passwd",
	"sed 's/^/canary/e' /etc/passwd",
	"tar cf /dev/null --checkpoint=1 --checkpoint-action=exec=canary /etc/passwd",
	"tar cf x -I canary /etc/passwd",
	"choom -n 0 canary",
	"sg root -c canary",
	"newgrp <<E\ncanary\nE\n",
	"logsave /dev/null canary",
	"strace -o '|canary' ls",
	"ssh x -o ProxyCommand=canary id",
	"ssh -F /dev/stdin x id <<E\nProxyCommand canary\nE\n",
	"echo \"${x:-'}\"; canary; echo \"'}\"",
	"cat <<E\nE\\\n\ncanary\nE\n",
	"echo x | xargs -I{} -n1 sh -c canary",
	"ip netns exe x canary",
	"time -o /dev/null canary",
	"time -f %e canary",
	"coreutils --coreutils-prog=env canary",
	"vim.tiny -c '!canary' -c q",
}

// TestHidden runs each text in the shells that "sh" may be: where canary runs, a rule
// that denies it must have matched. Texts whose programs are not here prove nothing
// then, but must be refused all the same.
func TestHidden(t *testing.T) {
	canary, _ := ParsePattern("canary")
	rule := Rule{Decision: Deny, Commands: []Pattern{canary}}
	dir, ran := t.TempDir(), 0
	hit := filepath.Join(dir, "hit")
	if err := os.WriteFile(filepath.Join(dir, "canary"), []byte("#!/bin/sh\n: >> "+hit+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, text := range hidden {
		var step Step
		seen := Script("sh", text)
		rule.forbids(seen, &step)
		if !step.Matched {
			t.Errorf("%q is not seen to run canary: %s", text, commandsOf(seen))
		}
		for _, sh := range []string{"bash", "dash"} {
			if _, err := exec.LookPath(sh); err != nil {
				testkit.LeftOut(t, err.Error())
				continue
			}
			cmd := exec.Command("timeout", "5", sh, "-c", text)
			cmd.Dir, cmd.Env = t.TempDir(), []string{"PATH=" + dir + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent"}
			_ = cmd.Run() // what counts is whether canary ran
			if err := os.Remove(hit); err == nil {
				ran++
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	if ran < len(hidden)/2 {
		t.Errorf("canary ran %d times only: the texts prove little", ran)
	}
}

// TestNotCovered: rules that allow one thing do not allow these.
func TestNotCovered(t *testing.T) {
	for _, tt := range []struct{ allow, text string }{
		{"ls **", "/tmp/evil/env ls"},
		{"ls **", "./nice ls"},
		{"ls **", "/tmp/sh -c ls"},
		{"ls **", "/bin/../tmp/env ls"},
		{"cat /var/log/**", `cat /var/log/\.*/shadow`},
		{"cat /var/log/**", `cat /var/log/\.?/shadow`},
		{"find *", "echo -delete | xargs -I{} -n1 find /"},
		{"find *", "echo -delete | xargs -n1 -I{} find /"},
		{"xxd *", "xxd /etc/hostname /tmp/x"},
		{"date *", "date 010203042026"},
		{"ip *", "ip addr fl dev eth0"},
		{"ip *", "ip route r default via 192.0.2.1"},
		{"ip *", "ip route repl default via 192.0.2.1"},
		{"ip *", "ip link se lo down"},
		{"apt-get *", `DEBIAN_FRONTEND='Noninteractive; system("id")' apt-get update`},
		{"ls *", "LANGUAGE=../../tmp/x ls"},
		{"ls *", "TERM=/tmp/x ls"},
		{"ls *", "TZ=:/etc/shadow ls"},
		{"ls *", "ls > /tmp/../etc/cron.d/x"},
		{"ls *", "ls > /tmp/a/../../etc/passwd"},
		{"ls *", "ls > /tmp//x"},
		{"cat *", "sudo -S sh <<'E'\ncat <<'Q'\nrm x\nQ\nE\n"},
	} {
		var step Step
		p, err := ParsePattern(tt.allow)
		if err != nil {
			t.Fatal(err)
		}
		echo, _ := ParsePattern("echo **")
		sudo, _ := ParsePattern("sudo *")
		rule := Rule{Decision: Allow, Commands: []Pattern{p, echo, sudo}, Writes: []PathGlob{"/tmp/**"}}
		if rule.allows(Script("sh", tt.text), &step); step.Matched {
			t.Errorf("%q covers %q", tt.allow, tt.text)
		}
	}
	for _, tt := range []struct{ allow, text string }{
		{"ip *", "ip route show dev eth0"}, {"date *", "date -d yesterday +%s"}, {"ls *", "LANG=C.UTF-8 TZ=Europe/Berlin ls > /tmp/x"}, {"xxd *", "xxd -l 16 /etc/hostname"},
		{"sed *", "sed -n 1,5p /etc/hosts"}, {"tar *", "tar tzf /srv/a.tgz"}, {"[ *", `x=1; [ "$x" = 1 ]`}, {"ls *", "/usr/bin/env LC_ALL=C ls"},
	} {
		var step Step
		p, _ := ParsePattern(tt.allow)
		rule := Rule{Decision: Allow, Commands: []Pattern{p}, Writes: []PathGlob{"/tmp/**"}}
		if rule.allows(Script("sh", tt.text), &step); !step.Matched {
			t.Errorf("%q does not cover %q: %s", tt.allow, tt.text, step.Why)
		}
	}
}

// TestEnvironmentIsSeen: variables that a caller sets can make any program another.
func TestEnvironmentIsSeen(t *testing.T) {
	ls, _ := ParsePattern("ls *")
	p := Policy{Rules: []Rule{{Name: "looks", Decision: Allow, Commands: []Pattern{ls}}, {Name: "rest", Decision: Deny}}}
	for name, want := range map[string]Decision{"BASH_ENV": Deny, "LD_PRELOAD": Deny, "PATH": Deny, "LC_ALL": Allow} {
		r := Request{Do: Run, Argv: []string{"bash", "-c", "ls /"}, Env: map[string]string{name: "C"}}
		if v := p.Decide(r); v.Decision != want {
			t.Errorf("with %s: %s (%s)", name, v.Decision, strings.Join(v.Seen.Unseen, "; "))
		}
	}
}

// TestScriptReadsItself: a script on standard input shares it with what it runs.
func TestScriptReadsItself(t *testing.T) {
	for text, unseen := range map[string]bool{
		"read a\ncat <<'Q'\nrm x\nQ\n": true, "head -n1\ncat <<'Q'\nrm x\nQ\n": true, "head -c 5k\nls": true, "sed 1q\nls": true, "grep -m1 x\nls": true, "sh -c 'read a'\nls": true, "x=; cat $x\nls": true,
		"{ read a; }\nls": true, "cat -\nls": true, "eval 'read a'\nls": true,
		"read a < /etc/hostname\nls": false, "head -n1 /etc/hosts\nls": false, "cat /etc/hosts | head -n1": false, "ls | while read x; do echo; done": false, "sed -n 1p /etc/hosts": false, "grep x /etc/hosts": false, "cat <<E\nx\nE\n": false,
	} {
		if got := Commands([]string{"bash"}, []byte(text)); got.Dynamic() != unseen {
			t.Errorf("%q: unseen %q", text, got.Unseen)
		}
	}
	if got := Commands(nil, []byte("#!/usr/bin/env bash\nread a; ls")); got.Dynamic() {
		t.Errorf("a file is no input: %q", got.Unseen)
	}
	if got := Commands([]string{"bash", "-c", "read a; ls"}, nil); got.Dynamic() {
		t.Errorf("a text of -c reads another input: %q", got.Unseen)
	}
}
