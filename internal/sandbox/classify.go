package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/transport"
)

// classify turns the end of the process and BOOT's last line into a result.
func (r *run) classify(e end) (Result, error) {
	if e.err != nil {
		r.flush()
		return r.result(Result{}), lostOr(e.err)
	}
	if !r.out.begun || !r.err.begun {
		return Result{}, shellError(string(r.out.noise)+string(r.err.noise), e.exit)
	}
	if !r.err.ended {
		r.flush()
		return r.result(Result{}), diag.New(diag.Lost, "run command", "look on the target whether it ran before you run it again",
			"it was ended from outside on the target (%s); nothing is known of the outcome", describe(e.exit))
	}
	code, executed := status(string(r.err.trailer))
	if !executed && SignalName(code) != "" {
		// bwrap gives up with an exit code of its own, never by a signal: it
		// was killed from outside, by the kernel for its memory as likely as not.
		r.flush()
		return r.result(Result{}), bwrapKilled(code)
	}
	if !executed {
		return Result{}, Diagnose(string(r.err.held), code, r.cmd.Spec)
	}
	r.flush()
	return r.result(Result{ExitCode: code, Signal: SignalName(code)}), nil
}

// bwrapKilled is for a bubblewrap that ended with code without having said how the
// command did.
func bwrapKilled(code int) error {
	return diag.New(diag.Lost, "run command", "look on the target whether it ran before you run it again, and whether it ran out of memory",
		"bubblewrap was killed on the target (%s); nothing is known of the outcome", SignalName(code))
}

func lostOr(err error) error {
	if l := lost(err); l != nil {
		return l
	}
	return fmt.Errorf("run command: %w", err)
}

func describe(e transport.Exit) string {
	if e.Signal != "" {
		return "signal " + e.Signal
	}
	return "exit code " + strconv.Itoa(e.Code)
}

// status reads BOOT's last line: its own exit code and the JSON documents of
// bwrap's --json-status-fd. bwrap reports "exit-code" only for a command that
// was executed (report_child_exit_status in bubblewrap.c).
func status(trailer string) (code int, executed bool) {
	line, _, _ := strings.Cut(trailer, "\n")
	first, docs, _ := strings.Cut(strings.TrimSpace(line), " ")
	code, err := strconv.Atoi(first)
	if err != nil {
		return 125, false
	}
	d := json.NewDecoder(strings.NewReader(docs))
	for {
		var doc struct {
			ExitCode *int `json:"exit-code"`
		}
		if err := d.Decode(&doc); errors.Is(err, io.EOF) || err != nil {
			return code, false
		}
		if doc.ExitCode != nil {
			return *doc.ExitCode, true
		}
	}
}

// signals are the Linux signal numbers that are the same on every architecture
// Bowline supports (signal(7)), as far as they end a process.
var signals = map[int]string{1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL",
	10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 24: "XCPU", 25: "XFSZ", 31: "SYS"}

// SignalName returns the name of the signal that an exit code above 128 stands
// for, or "". A program can exit with such a code by itself; the two cannot be
// told apart, as in any shell.
func SignalName(code int) string {
	if code <= 128 {
		return ""
	}
	return signals[code-128]
}

// shellError explains why /bin/sh never ran BOOT.
func shellError(noise string, exit transport.Exit) error {
	noise = strings.TrimSpace(noise)
	if noise == "" {
		noise = "no output"
	}
	return diag.New(diag.Sandbox, "start shell", "log in with ssh and see whether 'exec /bin/sh -c true' works there",
		"the login shell did not start /bin/sh (%s): %q", describe(exit), clip(noise, 400))
}

func clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	return s[:max] + "..."
}

// failure is a way bubblewrap is known to fail: its text begins with a word of begins, or
// has one of has.
type failure struct {
	begins, has []string
	what, hint  string
}

func (f failure) explains(text string) bool {
	return slices.ContainsFunc(f.begins, func(w string) bool { return strings.HasPrefix(text, w) }) ||
		slices.ContainsFunc(f.has, func(w string) bool { return strings.Contains(text, w) })
}

// InstallHint says how to get bubblewrap.
const InstallHint = "install it on the target: 'apt-get install bubblewrap', 'dnf install bubblewrap' or 'apk add bubblewrap'"

const (
	// Ubuntu 23.10 and later: containers/bubblewrap#632. The profile gives bwrap
	// alone the right, where the global sysctl would give it to all programs.
	hintAppArmor = "on Ubuntu, give bubblewrap alone the right to user namespaces: " +
		"'sudo apt-get install apparmor-profiles && sudo cp /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict'"
	hintUserns = "allow user namespaces on the target: 'sudo sysctl -w user.max_user_namespaces=15000', on older Debian also 'sudo sysctl -w kernel.unprivileged_userns_clone=1'"
	hintNested = "the target is a container that may not mount: give it SYS_ADMIN and an unconfined seccomp profile, or run on the host itself"
)

func failures() []failure {
	return []failure{
		{nil, []string{"Failed RTM_NEWADDR", "setting up uid map: Permission denied", "setting up uid map: Operation not permitted"}, "AppArmor keeps bubblewrap from using user namespaces", hintAppArmor},
		// "creating" since bubblewrap 0.3, "create" before.
		{nil, []string{"No permissions to creating new namespace", "No permissions to create new namespace", "Creating new namespace failed", "unprivileged user namespaces"}, "the kernel forbids user namespaces", hintUserns},
		{[]string{"unshare: ", "mount: "}, []string{"pivot_root", "Failed to mount tmpfs", "Can't mount proc", "Failed to make / slave", "Unable to mount"}, "bubblewrap may not mount here", hintNested},
		{nil, []string{"Can't mkdir", "Can't create file"}, "the profile mounts something at a path that does not exist inside a read-only directory", "bind its parent directories one by one, or make the path on the target"},
		{nil, []string{"Unknown option"}, "bubblewrap on the target is too old; 0.5.0 or newer is needed", "upgrade it on the target, and see 'bwrap --version' there"},
		{nil, []string{"seccomp"}, "the kernel of the target does not take the seccomp filter", "see 'bowline doctor' for this target"},
		{nil, []string{"Resource temporarily unavailable", "Cannot allocate memory"}, "the target is out of processes or memory", "raise limits.processes or limits.memory of the profile, or try again when the target is less busy"},
	}
}

// said takes what follows words in the first line that has them apart at its last
// colon: bubblewrap says "execvp NAME: REASON", and a name may hold colons.
func said(text, words string) (name, reason string, ok bool) {
	_, rest, ok := strings.Cut(text, words)
	if !ok {
		return "", "", false
	}
	rest, _, _ = strings.Cut(rest, "\n")
	i := strings.LastIndex(rest, ": ")
	if i < 0 {
		return "", "", false
	}
	return rest[:i], rest[i+2:], true
}

// Diagnose explains why bwrap did not execute the command. text is what it said
// on the target, code the status of the shell.
func Diagnose(text string, code int, spec Spec) error {
	text = strings.TrimSpace(text)
	if err := freeze.FromMark([]byte(text)); err != nil {
		return err
	}
	const op = "start sandbox"
	if _, why, ok := said(text, "execvp "); ok {
		if strings.Contains(why, "No such file") {
			return diag.New(diag.NotFound, op, "see which programs and paths the profile shows with 'bowline profile show "+spec.Profile.Name+"'",
				"%q is not found inside profile %s", spec.Argv[0], spec.Profile.Name)
		}
		return diag.New(diag.Refused, op, "", "%q cannot be executed inside profile %s: %s", spec.Argv[0], spec.Profile.Name, clip(why, 100))
	}
	if dir, _, ok := said(text, "Can't chdir to "); ok {
		return diag.New(diag.Usage, op, "choose a directory that the profile shows, with --cwd",
			"the working directory %q does not exist inside profile %s; nothing ran", clip(dir, 200), spec.Profile.Name)
	}
	if code == 127 && strings.Contains(text, "unshare") {
		return diag.New(diag.Sandbox, op, "install util-linux on the target", "unshare is not installed on the target; root needs it for a read-only /dev")
	}
	if code == 127 && strings.Contains(text, "bwrap") || text == "" && code == 127 {
		return diag.New(diag.Sandbox, op, InstallHint, "bubblewrap (bwrap) is not installed on the target")
	}
	if strings.Contains(text, "Argument list too long") { // E2BIG, execve(2)
		return diag.New(diag.Usage, op, "give the text on standard input, with --stdin or --script",
			"the command is too long for the target: one argument may hold 128 KiB, all of them about 2 MiB")
	}
	for _, f := range failures() {
		if f.explains(text) {
			return diag.New(diag.Sandbox, op, f.hint, "%s (%q)", f.what, clip(text, 300))
		}
	}
	return diag.New(diag.Sandbox, op, "run 'bowline doctor' for this target", "bubblewrap failed with exit code %d: %q", code, clip(text, 400))
}
