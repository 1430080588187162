package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/target"
)

// Check is one line of a test of a target.
type Check struct {
	Name   string // "connect", "host key", "login", "kernel", "bubblewrap", "sandbox"
	OK     bool
	Detail string // what was found; may hold text of the target
	Hint   string // the remedy, if not OK
	Kind   diag.Kind
}

// Tester tests targets. Its fields are required.
type Tester struct {
	Links    *link.Pool
	Recorder Recorder
	// Attacks tries to break out of a sandbox and returns one check for each
	// way; see package sandbox/attack.
	Attacks func(ctx context.Context, conn transport.Conn, p profile.Profile) ([]Check, error)
}

// Test connects to t, asks it about itself, and runs one sandboxed command under
// p. It stops at the first failure that makes the rest pointless. A failed check
// is not an error; an error means that the test could not be recorded. With
// attacks, the attack suite runs too.
func (te Tester) Test(ctx context.Context, t target.Target, p profile.Profile, attacks bool) ([]Check, error) {
	id, err := te.Recorder.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: "target.test", Target: t.Name, Profile: p.Name}})
	if err != nil {
		return nil, err
	}
	checks, out := te.test(ctx, t, p, attacks)
	return checks, te.Recorder.End(context.WithoutCancel(ctx), id, out)
}

func (te Tester) test(ctx context.Context, t target.Target, p profile.Profile, attacks bool) ([]Check, audit.Outcome) {
	start := time.Now()
	l, err := te.Links.Get(ctx, t)
	if err != nil {
		return []Check{failed("connect", err)}, audit.Outcome{Err: err}
	}
	defer l.Release()
	info := l.Info()
	out := audit.Outcome{Subject: audit.Subject{Address: info.Address, Login: info.Login, HostKey: info.Fingerprint, KeyID: info.KeyID}}
	checks := []Check{passed("connect", "%s in %s", info.Address, max(info.DialTime, 0).Round(time.Millisecond))}
	if info.Fingerprint != "" {
		checks = append(checks, passed("host key", "%s %s", info.HostKeyType, info.Fingerprint))
	}
	facts, err := sandbox.Probe(ctx, l)
	if err != nil {
		out.Err = err
		return append(checks, failed("login", err)), out
	}
	checks = append(checks, describeFacts(facts)...)
	checks = append(checks, tryDefault(ctx, l, p))
	if attacks && checks[len(checks)-1].OK {
		checks = append(checks, te.tryAttacks(ctx, l, p)...)
	}
	for _, c := range checks {
		if !c.OK {
			out.Err = fmt.Errorf("%s: %s", c.Name, c.Detail)
			break
		}
	}
	out.Duration = time.Since(start)
	return checks, out
}

func passed(name, format string, args ...any) Check {
	return Check{Name: name, OK: true, Detail: fmt.Sprintf(format, args...)}
}

func failed(name string, err error) Check {
	return Check{Name: name, Detail: err.Error(), Hint: diag.HintOf(err), Kind: diag.KindOf(err)}
}

func describeFacts(f sandbox.Facts) []Check {
	checks := []Check{
		passed("login", "%s (uid %d)", f.Login, f.UID),
		passed("kernel", "%s", strings.Trim(f.Kernel+", "+f.OS, ", ")),
	}
	if !strings.HasPrefix(f.Kernel, "Linux") {
		checks[1] = Check{Name: "kernel", Detail: f.Kernel + " is not Linux", Hint: "only Linux targets can confine commands"}
	}
	if f.Bubblewrap == "" {
		return append(checks, Check{Name: "bubblewrap", Detail: "not installed", Hint: sandbox.InstallHint})
	}
	detail := f.Bubblewrap
	if f.UID == 0 && !f.CgroupWrite {
		detail += "; no writable cgroup, so memory and processes are limited one by one only"
	}
	return append(checks, passed("bubblewrap", "%s", detail))
}

// tryDefault runs one harmless command the way "run" would.
func tryDefault(ctx context.Context, l *link.Link, p profile.Profile) Check {
	var out, errw bytes.Buffer
	res, err := sandbox.Exec(ctx, l, sandbox.Command{
		Spec: sandbox.Spec{Profile: p, Argv: []string{"ls", "-d", "/etc"}}, Timeout: 10 * time.Second, Stdout: &out, Stderr: &errw,
	})
	switch {
	case errors.Is(err, freeze.ErrFrozen):
		return failed("freeze", err)
	case err != nil:
		return failed("sandbox", err)
	case res.ExitCode != 0 || strings.TrimSpace(out.String()) != "/etc":
		return Check{Name: "sandbox", Detail: fmt.Sprintf("ls -d /etc under profile %s ended with %d: %q", p.Name, res.ExitCode, errw.String()),
			Hint: "see what the profile shows with 'bowline profile explain " + p.Name + " -- ls -d /etc'"}
	}
	return passed("sandbox", "a command under profile %s took %s", p.Name, res.Duration.Round(time.Millisecond))
}

func (te Tester) tryAttacks(ctx context.Context, l *link.Link, p profile.Profile) []Check {
	checks, err := te.Attacks(ctx, l, p)
	if err != nil {
		return append(checks, failed("attacks", err))
	}
	return checks
}
