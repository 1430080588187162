package executor

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/profile"
)

// maxArgv bounds the argument vector, in bytes: Linux allows 2 MiB for
// arguments and environment together (execve(2)), of which the sandbox needs
// some itself.
const maxArgv = 1 << 20

// maxArg bounds one argument: MAX_ARG_STRLEN of Linux, 32 pages (execve(2)).
const maxArg = 128<<10 - 1

// check refuses what must not, or cannot, run under p. It does no I/O.
func check(req Request, p profile.Profile) error {
	if err := checkForm(req); err != nil {
		return diag.New(diag.Usage, "run", "", "%w", err)
	}
	program := req.argv()[0]
	if req.Upload != nil {
		program = req.Upload.allowed()
	}
	if v := p.Allows(program); !v.Allowed {
		return diag.New(diag.Refused, "run", refusalHint(req, p), "%s", v.Reason)
	}
	return nil
}

func refusalHint(req Request, p profile.Profile) string {
	hint := "see what it allows with 'bowline profile show " + p.Name + "'"
	if p.Name != "script" {
		hint += ", or use a profile without an allow-list: 'bowline run -p script ...'"
	}
	return hint
}

func checkForm(req Request) error {
	argv := req.argv()
	if len(argv) == 0 || argv[0] == "" {
		return fmt.Errorf("the command is missing")
	}
	total := 0
	for i, a := range argv {
		if strings.Contains(a, "\x00") {
			return fmt.Errorf("argument %d contains NUL", i)
		}
		if len(a) > maxArg {
			return fmt.Errorf("argument %d has %d bytes; Linux takes at most %d", i, len(a), maxArg)
		}
		total += len(a) + 1
	}
	if total > maxArgv {
		return fmt.Errorf("the command has %d bytes; at most %d are taken", total, maxArgv)
	}
	for _, k := range slices.Sorted(maps.Keys(req.Env)) {
		if !profile.ValidEnvName(k) {
			return fmt.Errorf("environment name %q: use letters, digits and '_', not starting with a digit", k)
		}
		if strings.Contains(req.Env[k], "\x00") {
			return fmt.Errorf("environment value of %s contains NUL", k)
		}
	}
	if req.Cwd != "" && (!path.IsAbs(req.Cwd) || strings.ContainsAny(req.Cwd, "\x00")) {
		return fmt.Errorf("working directory %q: use an absolute path", req.Cwd)
	}
	if req.Timeout < 0 || req.Timeout > profile.MaxWall {
		return fmt.Errorf("timeout %s: use up to %s", req.Timeout, profile.MaxWall)
	}
	if 0 < req.Timeout && req.Timeout < time.Millisecond {
		return fmt.Errorf("timeout %s is shorter than a millisecond", req.Timeout)
	}
	return nil
}
