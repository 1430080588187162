package bowline

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/bowline-sh/bowline/diag"
)

// Diagnose checks this machine: configuration, audit log, the ssh program and
// agent, and whether commands can be confined here. Targets are tested with
// [Client.TestTarget].
func (c *Client) Diagnose(ctx context.Context) TestReport {
	paths := c.Paths()
	return TestReport{Target: "this machine", Checks: []Check{
		{Name: "configuration", OK: true, Detail: fmt.Sprintf("%s, %d targets", paths.Config, len(c.parts.Targets()))},
		c.diagnoseProfiles(ctx),
		c.diagnoseAudit(ctx),
		c.diagnoseFreeze(),
		diagnoseSSH(),
		diagnoseAgent(),
	}}
}

func (c *Client) diagnoseProfiles(ctx context.Context) Check {
	list, err := c.Profiles(ctx)
	for _, p := range list {
		if p.Err != nil {
			return Check{Name: "profiles", Detail: p.Err.Error(), Hint: "correct or remove the file " + p.Origin}
		}
	}
	if err != nil {
		return Check{Name: "profiles", Detail: err.Error()}
	}
	return Check{Name: "profiles", OK: true, Detail: fmt.Sprintf("%d can be used", len(list))}
}

func (c *Client) diagnoseAudit(ctx context.Context) Check {
	report, err := c.VerifyAudit(ctx)
	switch {
	case err != nil:
		return Check{Name: "audit log", Detail: err.Error(), Hint: "see 'bowline audit verify'"}
	case !report.OK:
		return Check{Name: "audit log", Detail: report.Problem, Hint: "see 'bowline audit verify', and keep a copy of the log before anything else"}
	}
	return Check{Name: "audit log", OK: true, Detail: fmt.Sprintf("%d entries in %s, chain intact", report.Entries, c.Paths().Audit)}
}

// diagnoseFreeze: a frozen client is as it should be, but a person who asks why nothing
// runs must hear it.
func (c *Client) diagnoseFreeze() Check {
	var names []string
	for _, t := range c.parts.Targets() {
		if f, ok := c.FrozenHere(t.Name); ok {
			names = append(names, t.Name+" "+f.String())
		}
	}
	if len(names) == 0 {
		return Check{Name: "freeze", OK: true, Detail: "nothing is frozen from this client"}
	}
	return Check{Name: "freeze", Kind: diag.Refused, Detail: strings.Join(names[:min(len(names), 5)], "; "), Hint: "lift it with 'bowline unfreeze'; see 'bowline target list'"}
}

// diagnoseSSH: without ssh, ssh_config is read by a simpler reader of our own.
func diagnoseSSH() Check {
	path, err := exec.LookPath("ssh")
	if err != nil {
		return Check{Name: "ssh_config", OK: true, Detail: "no ssh program: Match blocks of ssh_config are not understood"}
	}
	return Check{Name: "ssh_config", OK: true, Detail: "read through " + path}
}

func diagnoseAgent() Check {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" || runtime.GOOS == "windows" {
		return Check{Name: "ssh-agent", OK: true, Detail: "none; key files are used"}
	}
	if _, err := os.Stat(socket); err != nil {
		return Check{Name: "ssh-agent", Detail: "SSH_AUTH_SOCK names " + socket + ", which does not exist", Hint: "start one with 'eval $(ssh-agent)', or 'unset SSH_AUTH_SOCK'"}
	}
	return Check{Name: "ssh-agent", OK: true, Detail: socket}
}
