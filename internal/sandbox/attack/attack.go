// Package attack tries to get out of the sandbox and says what held.
//
// It is the self-test behind "bowline doctor --attack" and of Bowline's own
// tests. A run has three steps over one connection: a survey outside the
// sandbox lists what an attacker would like to reach; the attacks run inside,
// under the profile; an inspection outside looks whether anything changed.
//
// # What it proves
//
// An attack that is turned away was turned away here, now, by this kernel and
// this bubblewrap. An attack that gives no answer counts as not held. Attacks
// need sh and common programs inside; where python3 is there too they make the
// system calls themselves, which is stronger.
//
// # What it leaves behind
//
// Nothing, also where an attack works: files are opened and not written, values
// are set to what they are, marker files are removed again. Only the host's own
// log may show the attempts.
package attack

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/profile"
)

// Attack is one way out that the suite tries.
type Attack struct {
	Name string // short and stable
	Goal string // what the attacker would have won

	script string
}

// Finding is the outcome of one attack.
type Finding struct {
	Name   string
	Held   bool
	Detail string // one line: what held, or what worked; escaped text of the target
}

//go:embed probe.sh
var probes string

//go:embed probe.py
var strong string

// HostUnchanged is the finding of the inspection after the attacks.
const HostUnchanged = "host-unchanged"

// Suite returns the attacks in the order in which they run. The last finding of
// a run is [HostUnchanged], which is no attack of its own.
func Suite() []Attack {
	_, attacks := parse(probes)
	return attacks
}

// parse splits probe.sh at its "#: NAME GOAL" lines.
func parse(text string) (prelude string, attacks []Attack) {
	for part := range strings.SplitSeq(text, "\n#: ") {
		head, body, _ := strings.Cut(part, "\n")
		name, goal, _ := strings.Cut(head, " ")
		switch {
		case name == "prelude":
			prelude = body
		case !strings.HasPrefix(name, "#"):
			attacks = append(attacks, Attack{Name: name, Goal: goal, script: body})
		}
	}
	return prelude, attacks
}

// timeout bounds the attacks; they take about a second.
const timeout = time.Minute

// Run attacks prof over conn and returns one finding for each attack of the
// suite and one for what was seen on the target afterwards. The allow-list of
// prof does not matter. An error means that the test could not be made; it says
// nothing of the confinement.
func Run(ctx context.Context, conn transport.Conn, prof profile.Profile) ([]Finding, error) {
	s, err := look(ctx, conn, prof)
	if err != nil {
		return nil, err
	}
	out, err := s.attack(ctx, conn, prof)
	if err != nil {
		return nil, err
	}
	after, err := s.inspect(ctx, conn, prof)
	if err != nil {
		return nil, err
	}
	return append(judge(Suite(), out), after), nil
}

// attack runs the attacks inside and returns their lines.
func (s survey) attack(ctx context.Context, conn transport.Conn, prof profile.Profile) (string, error) {
	text, err := s.script(prof)
	if err != nil {
		return "", err
	}
	prof = prof.Clone()
	prof.Limits.Output = 4 << 20
	var out, errw strings.Builder
	res, err := sandbox.Exec(ctx, conn, sandbox.Command{
		Spec:    sandbox.Spec{Profile: prof, Argv: []string{"sh", "-c", text, "attack", strong}},
		Timeout: timeout, Stdout: &out, Stderr: &errw,
	})
	if err != nil {
		return "", err
	}
	if res.TimedOut || res.Truncated {
		return "", diag.New(diag.Sandbox, "attack the sandbox", "", "the attacks did not end as they should: %+v", res)
	}
	return out.String(), nil
}

// script is what sh inside runs: the survey as variables, and every attack in a
// subshell.
func (s survey) script(prof profile.Profile) (string, error) {
	prelude, attacks := parse(probes)
	var b strings.Builder
	for _, v := range s.variables(prof) {
		quoted, err := sandbox.Quote(v.value)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s=%s\n", v.name, quoted)
	}
	b.WriteString(prelude)
	for _, a := range attacks {
		fmt.Fprintf(&b, "\n(\nA=%s\n%s\n) 2>/dev/null </dev/null", a.Name, a.script)
	}
	b.WriteString("\n" + `if have python3; then python3 -c "$1" "$SOCKETS" "$PORTS" "$(host_pids)" 2>/dev/null; fi` + "\nexit 0\n")
	return b.String(), nil
}

// judge turns "+ NAME text" and "- NAME text" lines into findings.
func judge(attacks []Attack, out string) []Finding {
	held, broke := map[string]string{}, map[string]string{}
	for line := range strings.Lines(out) {
		sign, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		name, detail, _ := strings.Cut(rest, " ")
		switch {
		case sign == "-" && broke[name] == "":
			broke[name] = detail
		case sign == "+" && held[name] == "":
			held[name] = detail
		}
	}
	findings := make([]Finding, 0, len(attacks)+1)
	for _, a := range attacks {
		f := Finding{Name: a.Name, Held: held[a.Name] != "" && broke[a.Name] == "", Detail: held[a.Name]}
		switch {
		case broke[a.Name] != "":
			f.Detail = broke[a.Name]
		case f.Detail == "":
			f.Detail = "the attack gave no answer"
		}
		f.Detail = plain(f.Detail)
		findings = append(findings, f)
	}
	return findings
}

// plain makes text of the target fit for one line of a terminal.
func plain(s string) string {
	const most = 300
	if len(s) > most {
		s = s[:most] + "..."
	}
	q := fmt.Sprintf("%q", s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
