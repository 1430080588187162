package sandbox_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
)

// threads is how many threads this machine runs.
func threads(t testing.TB) int {
	t.Helper()
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	_, all, _ := strings.Cut(strings.Fields(string(data))[3], "/")
	n, err := strconv.Atoi(all)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLimits(t *testing.T) {
	onEveryHost(t, func(t *testing.T, h sandboxtest.Host) {
		conn, cgroupsGone := h.Dial(t), sandboxtest.WatchCgroups(t)
		t.Run("memory of a process", func(t *testing.T) {
			const allocate = "b = bytearray(int(__import__('sys').argv[1]) << 20); print(len(b))"
			for mib, fits := range map[string]bool{"40": true, "400": false} {
				cmd := script(t, "python3", "-c", allocate, mib)
				cmd.Profile.Limits.Memory = 200 << 20
				if o := ran(t, try(t.Context(), conn, cmd)); (o.ExitCode == 0) != fits {
					t.Errorf("%s MiB under 200: %+v %s", mib, o.Result, o.log)
				}
			}
		})
		t.Run("memory in all, for root", func(t *testing.T) {
			// Files on a tmpfs are memory that no limit of a process counts.
			cmd := sh(t, "head -c 300000000 /dev/zero > /tmp/f; echo done")
			cmd.Profile.Limits.Memory = 100 << 20
			o := try(t.Context(), conn, cmd)
			killed := o.ExitCode == 137 || diag.KindOf(o.err) == diag.Lost || strings.Contains(o.log, "Killed")
			if h.Root && !killed {
				t.Errorf("300 MB under 100 MiB: %+v %v %q %q", o.Result, o.err, o.out, o.log)
			}
		})
		t.Run("processes", func(t *testing.T) {
			// Root is held by a cgroup; others by RLIMIT_NPROC, which counts what
			// the account runs elsewhere too, so that is allowed on top.
			const limit = 40
			most := limit
			if !h.Root {
				most += threads(t) + 100 // other tests come and go
			}
			cmd := sh(t, fmt.Sprintf("i=0; while [ $i -lt %d ]; do sleep 100 & i=$((i + 1)); done; exit 0", most+50))
			cmd.Profile.Limits.Processes = limit
			cmd.Timeout = 20 * time.Second
			o := ran(t, try(t.Context(), conn, cmd))
			if !strings.Contains(strings.ToLower(o.log), "cannot fork") && !strings.Contains(o.log, "fork") {
				t.Errorf("%d processes started under a limit of %d: %+v %q", most+50, limit, o.Result, o.log)
			}
		})
		t.Run("processor time", func(t *testing.T) {
			cmd := sh(t, "while :; do :; done")
			cmd.Profile.Limits.CPUSeconds = 1
			cmd.Timeout = 20 * time.Second
			if o := ran(t, try(t.Context(), conn, cmd)); o.TimedOut || o.ExitCode != 137 && o.ExitCode != 152 {
				t.Errorf("%+v, want a death by SIGXCPU or SIGKILL", o.Result)
			}
		})
		t.Run("open files", func(t *testing.T) {
			cmd := sh(t, "ulimit -n; python3 -c 'f = [open(\"/etc/passwd\") for i in range(64)]' 2>&1 | tail -n 1")
			cmd.Profile.Limits.OpenFiles = 32
			if o := ran(t, try(t.Context(), conn, cmd)); !strings.HasPrefix(o.out, "32\n") || !strings.Contains(o.out, "Too many open files") {
				t.Errorf("%q", o.out)
			}
		})
		t.Run("no core files", func(t *testing.T) {
			if o := ran(t, try(t.Context(), conn, sh(t, "ulimit -c; ulimit -Hc"))); o.out != "0\n0\n" {
				t.Errorf("%q", o.out)
			}
		})
		t.Run("cannot be raised", func(t *testing.T) {
			cmd := sh(t, "ulimit -n 4096 || echo refused")
			cmd.Profile.Limits.OpenFiles = 32
			if o := ran(t, try(t.Context(), conn, cmd)); o.out != "refused\n" {
				t.Errorf("%q", o.out)
			}
		})
		cgroupsGone()
	})
}
