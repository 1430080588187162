package sandbox

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/profile"
)

//go:embed boot.sh
var bootSource string

// prelude undoes what a login may do to any sh: bash takes shell options and
// functions from the environment (bash(1), SHELLOPTS and "export -f").
const prelude = `set +aCefuvx; unset -f [ command echo grep kill mkdir printf read readlink rmdir sleep ulimit umask wait bwrap unshare; unset IFS GLOBIGNORE;`

// boot returns prelude and boot.sh as one line without comments.
func boot() string {
	parts := []string{prelude}
	for line := range strings.Lines(bootSource) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, " ")
}

// mode is what BOOT needs to know before it reads its input.
type mode struct {
	stdin bool          // the command reads our input
	after time.Duration // kill from the target's side; only with stdin
}

// bootLine is the command line for the login shell.
func bootLine(m mode) (string, error) {
	quoted, err := Quote(boot())
	if err != nil {
		return "", err
	}
	letter, after := "n", int64(0)
	if m.stdin {
		letter, after = "i", int64((m.after+time.Second-1)/time.Second)
	}
	return fmt.Sprintf("exec /bin/sh -c %s bowline %s %d", quoted, letter, after), nil
}

// header is what BOOT reads from its input, up to the command's own input.
// mark is one that every process of bubblewrap carries among its arguments, so
// that what is left of a run can be found; it is no secret.
func header(nonce, mark string, spec Spec) (string, error) {
	env, options, err := optionText(Build(spec))
	if err != nil {
		return "", err
	}
	command, err := words(spec.Argv)
	if err != nil {
		return "", err
	}
	lines := []string{nonce + " " + mark, octal(filterOf(spec.Profile)), oneLine(env), oneLine(options), limitText(spec.Profile.Limits),
		oneLine(`set -- "$@" -- ` + command)}
	return strings.Join(lines, "\n") + "\n", nil
}

// optionText is sh text: env prints the options that set the environment,
// options appends all others to the positional parameters of the shell that
// becomes bwrap. That shell alone decides what is masked, so that a failure on
// the way ends in no sandbox and never in one that lacks its last options.
func optionText(steps []Step) (env, options string, err error) {
	var print, late []string
	set := []string{`set -- "$@" --json-status-fd 5 --unsetenv "bowline_$u"`}
	for _, s := range steps {
		switch {
		case s.Mask != nil:
			text, err := maskText(*s.Mask)
			if err != nil {
				return "", "", err
			}
			set, late = append(set, text), append(late, text)
			continue
		case s.Env && len(print) == 0:
			// Masks whose path goes through a link are laid when all mounts are.
			set = append(append(set, "k=1"), late...)
			set = append(set, `set -- "$@" --args 3`)
		}
		args, err := words(s.Args)
		if err != nil {
			return "", "", err
		}
		if s.Env {
			print = append(print, "a "+args)
		} else {
			set = append(set, `set -- "$@" `+args)
		}
	}
	return strings.Join(print, ";"), strings.Join(set, ";"), nil
}

// maskText is a loop over the paths that a mask matches; see m in boot.sh.
func maskText(m Mask) (string, error) {
	ends, err := words([]string{m.Prefix, m.Target})
	if err != nil {
		return "", err
	}
	var globbed []string
	for part := range strings.SplitSeq(m.Source, "*") {
		q := ""
		if part != "" {
			if q, err = Quote(part); err != nil {
				return "", err
			}
		}
		globbed = append(globbed, q)
	}
	return "for f in " + strings.Join(globbed, "*") + ";do m " + ends + `&&set -- "$@" $h "$p";done`, nil
}

// limitText is the sh text that sets limits. Memory is RLIMIT_DATA, which since
// Linux 4.7 counts private writable memory (setrlimit(2)); RLIMIT_AS would stop
// programs that only reserve addresses. Units of ulimit are KiB.
func limitText(l profile.Limits) string {
	out := []string{"ulimit -c 0"}
	if l.Memory > 0 {
		out = append(out, "ulimit -d "+strconv.FormatInt(l.Memory>>10, 10))
	}
	if l.CPUSeconds > 0 {
		out = append(out, "ulimit -t "+strconv.Itoa(l.CPUSeconds))
	}
	if l.OpenFiles > 0 {
		out = append(out, "ulimit -n "+strconv.Itoa(l.OpenFiles))
	}
	if l.Processes > 0 {
		out = append(out, "u "+strconv.Itoa(l.Processes))
	}
	if l.Memory > 0 || l.Processes > 0 {
		out = append(out, fmt.Sprintf("g %d %d", l.Memory, l.Processes))
	}
	return strings.Join(out, ";")
}

// octal spells bytes as printf reads them.
func octal(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\%03o`, c)
	}
	return s.String()
}
