package attack

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/profile"
)

//go:embed survey.sh
var surveyScript string

// survey is what an attacker would like to reach on the target.
type survey struct {
	facts map[string][]string // by kind; see survey.sh
	mark  string              // name of files that an attack may make
}

// maxSurvey bounds what a target can make us read and send back, in bytes.
const maxSurvey = 48 << 10

// look lists what can be attacked, without any sandbox.
func look(ctx context.Context, conn transport.Conn, prof profile.Profile) (survey, error) {
	var globs strings.Builder
	for _, h := range profile.DefaultHidden() {
		globs.WriteString("for f in " + h + "; do [ -e \"$f\" ] && echo \"secret $f\"; done\n")
	}
	out, err := unconfined(ctx, conn, surveyScript+"\n"+globs.String())
	if err != nil {
		return survey{}, err
	}
	s := survey{facts: map[string][]string{}, mark: ".bowline-attack-" + rand.Text()[:12]}
	for line := range strings.Lines(out) {
		kind, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if ok && (kind == "ns" || !strings.ContainsAny(value, "\t*?[\\")) {
			s.facts[kind] = append(s.facts[kind], value)
		}
	}
	if len(s.facts["ns"]) < 6 || len(s.facts["process"]) == 0 {
		return survey{}, diag.New(diag.Sandbox, "survey the target", "", "the target does not say what there is to attack: %q", plain(out))
	}
	return s, nil
}

// variable is a fact in the script that runs inside.
type variable struct{ name, value string }

func (s survey) variables(prof profile.Profile) []variable {
	vars := []variable{
		{"PIDS", s.list("process")}, {"PORTS", s.list("port")}, {"SOCKETS", s.list("socket")}, {"DEVS", s.list("dev")},
		{"HOST", s.list("host")}, {"DEVNULL", s.mode()}, {"MARK", s.mark}, {"SECRETS", s.list("secret")},
		{"NAMED", named(prof)}, {"ENVS", s.environment(prof)}, {"HOST_PROC", "0"},
	}
	if prof.HostProc {
		vars[len(vars)-1].value = "1"
	}
	for _, ns := range s.facts["ns"] {
		kind, link, _ := strings.Cut(ns, " ")
		vars = append(vars, variable{"NS_" + kind, link})
	}
	return vars
}

// list joins the facts of a kind with newlines. A fact with a blank would read
// as two inside and is left out.
func (s survey) list(kind string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(s.facts[kind]), func(v string) bool { return strings.Contains(v, " ") }), "\n")
}

// mode is the mode of the devices of the host, as chmod takes it.
func (s survey) mode() string {
	text := strings.Join(s.facts["devnull"], "")
	if len(text) != 10 {
		return "666"
	}
	mode := 0
	for _, c := range text[1:] {
		mode <<= 1
		if c != '-' {
			mode |= 1
		}
	}
	return fmt.Sprintf("%o", mode)
}

// named are the paths that prof asks for by name, which are then not hidden.
func named(prof profile.Profile) string {
	var paths []string
	for _, b := range prof.Binds {
		paths = append(paths, b.Target)
	}
	return strings.Join(paths, "\n")
}

// environment is what of the login's environment must not be seen inside.
func (s survey) environment(prof profile.Profile) string {
	ours := []string{"PATH", "PWD", "OLDPWD", "SHLVL", "_"} // set by bubblewrap, and by the shell inside
	return strings.Join(slices.DeleteFunc(slices.Clone(s.facts["env"]), func(v string) bool {
		_, set := prof.Environment[v]
		return set || slices.Contains(ours, v)
	}), "\n")
}

// inspect looks outside the sandbox for traces of the attacks.
func (s survey) inspect(ctx context.Context, conn transport.Conn, prof profile.Profile) (Finding, error) {
	dirs := []string{"/", "/etc", "/usr", "/usr/bin", "/tmp", "/var/tmp", "/dev/shm", "/run", "/root", "/home"}
	for _, b := range prof.Binds {
		dirs = append(dirs, b.Source)
	}
	var script strings.Builder
	fmt.Fprintf(&script, "for d in /sys/fs/cgroup/*")
	for _, d := range dirs {
		q, err := sandbox.Quote(d)
		if err != nil {
			return Finding{}, err
		}
		script.WriteString(" " + q)
	}
	fmt.Fprintf(&script, "; do [ -e \"$d/%[1]s\" ] && echo \"left $d/%[1]s\"; done\n", s.mark)
	script.WriteString("echo \"host $(cat /proc/sys/kernel/hostname)\"\necho \"core $(cat /proc/sys/kernel/core_pattern)\"\necho \"devnull $(ls -lL /dev/null | cut -c1-10)\"\n")
	out, err := unconfined(ctx, conn, script.String())
	if err != nil {
		return Finding{}, err
	}
	f := Finding{Name: HostUnchanged, Held: true, Detail: "nothing was left behind, and no setting changed"}
	for _, kind := range []string{"host", "core", "devnull"} {
		for _, was := range s.facts[kind] {
			if !strings.Contains("\n"+out, "\n"+kind+" "+was+"\n") {
				f.Held, f.Detail = false, plain(kind+" is no longer "+was)
			}
		}
	}
	if _, left, ok := strings.Cut("\n"+out, "\nleft "); ok {
		f.Held, f.Detail = false, plain("left behind: "+strings.SplitN(left, "\n", 2)[0])
	}
	return f, nil
}

// unconfined runs a script of ours on the target as the login itself. It is
// framed, because start-up files of a login may print before and after.
func unconfined(ctx context.Context, conn transport.Conn, script string) (string, error) {
	const begin, end = "bowline-begin\n", "bowline-end\n"
	proc, err := conn.Start(ctx, "exec /bin/sh")
	if err != nil {
		return "", fmt.Errorf("survey the target: %w", err)
	}
	defer proc.Close()
	stop := context.AfterFunc(ctx, func() { _ = proc.Close() })
	defer stop()
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }() // ends with the process
	go func() {
		_, _ = io.WriteString(proc.Stdin(), "echo bowline-begin\n{\n"+script+"\n} 2>/dev/null </dev/null\necho bowline-end\n")
		_ = proc.Stdin().Close()
	}()
	data, err := io.ReadAll(io.LimitReader(proc.Stdout(), maxSurvey))
	if err != nil {
		return "", fmt.Errorf("survey the target: %w", err)
	}
	_, text, _ := strings.Cut(string(data), begin)
	text, _, ok := strings.Cut(text, end)
	if !ok {
		return "", diag.New(diag.Sandbox, "survey the target", "", "the target gave no complete answer: %q", plain(string(data)))
	}
	return text, nil
}
