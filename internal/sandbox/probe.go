package sandbox

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline/internal/transport"
)

// Facts are what a target says of itself. Every text is the target's own words:
// bounded here, to be neutralised before it is shown.
type Facts struct {
	Login       string
	UID         int
	Kernel      string // "Linux 6.1.0 x86_64"
	OS          string // PRETTY_NAME of /etc/os-release
	Bubblewrap  string // version, or "" if it is not installed
	AppArmor    bool   // kernel.apparmor_restrict_unprivileged_userns is 1
	UserNS      int    // user.max_user_namespaces, or -1 if unknown
	HasSudo     bool
	CgroupWrite bool // limits can be set for the sandbox as a whole
}

// probeScript prints one fact a line, each with its key, whatever is missing.
const probeScript = `echo BOWLINE-FACTS; echo "login $(id -un)"; echo "uid $(id -u)"; echo "kernel $(uname -srm)"; ` +
	`(. /etc/os-release && echo "os $PRETTY_NAME"); command -v bwrap >/dev/null && echo "bwrap $(bwrap --version)"; ` +
	`f=/proc/sys/kernel/apparmor_restrict_unprivileged_userns; [ -r $f ] && echo "apparmor $(cat $f)"; ` +
	`f=/proc/sys/user/max_user_namespaces; [ -r $f ] && echo "userns $(cat $f)"; command -v sudo >/dev/null && echo "sudo yes"; ` +
	`for f in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/pids/cgroup.procs; do [ -w $f ] && echo "cgroup yes"; done; exit 0`

// maxFacts bounds what a probe may answer, in bytes.
const maxFacts = 16 << 10

// Probe asks the target about itself with one constant sh program, outside any
// sandbox. It changes nothing.
func Probe(ctx context.Context, conn transport.Conn) (Facts, error) {
	quoted, err := Quote(probeScript)
	if err != nil {
		return Facts{}, err
	}
	proc, err := conn.Start(ctx, "exec /bin/sh -c "+quoted)
	if err != nil {
		return Facts{}, startError(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = proc.Close() })
	defer stop()
	defer proc.Close()
	_ = proc.Stdin().Close()
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	text, err := io.ReadAll(io.LimitReader(proc.Stdout(), maxFacts))
	if err == nil {
		go func() { _, _ = io.Copy(io.Discard, proc.Stdout()) }()
		_, err = proc.Wait()
	}
	if err != nil {
		return Facts{}, fmt.Errorf("ask the target about itself: %w", err)
	}
	return parseFacts(string(text))
}

func parseFacts(text string) (Facts, error) {
	_, text, ok := strings.Cut(text, "BOWLINE-FACTS\n")
	if !ok {
		return Facts{}, fmt.Errorf("ask the target about itself: the login shell did not start /bin/sh")
	}
	f := Facts{UID: -1, UserNS: -1}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch value = clip(value, 200); key {
		case "login":
			f.Login = value
		case "uid":
			f.UID = number(value)
		case "kernel":
			f.Kernel = value
		case "os":
			f.OS = value
		case "bwrap":
			f.Bubblewrap = strings.TrimPrefix(value, "bubblewrap ")
		case "apparmor":
			f.AppArmor = value == "1"
		case "userns":
			f.UserNS = number(value)
		case "sudo":
			f.HasSudo = true
		case "cgroup":
			f.CgroupWrite = true
		}
	}
	return f, nil
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}
