package sandbox_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport/local"
)

// TestBubblewrapFails shows bubblewrap's own words to the diagnosis, through
// everything that lies between.
func TestBubblewrapFails(t *testing.T) {
	for _, tt := range []struct {
		says string
		want []string
	}{
		{"bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", []string{"AppArmor", "bwrap-userns-restrict"}},
		{"bwrap: setting up uid map: Permission denied", []string{"AppArmor", "bwrap-userns-restrict"}},
		{"bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user namespaces. See <https://deb.li/bubblewrap>.", []string{"forbids user namespaces", "sysctl"}},
		{"bwrap: No permissions to creating new namespace, likely because the kernel does not allow non-privileged user namespaces.", []string{"sysctl"}},
		{"bwrap: Creating new namespace failed: Resource temporarily unavailable", []string{"user namespaces"}},
		{"bwrap: pivot_root: Operation not permitted", []string{"may not mount here", "container"}},
		{"bwrap: Can't mount proc on /newroot/proc: Operation not permitted", []string{"may not mount here"}},
		{"bwrap: Failed to make / slave: Permission denied", []string{"may not mount here"}},
		{"bwrap: Unknown option --clearenv", []string{"too old", "bwrap --version"}},
		{"bwrap: prctl(PR_SET_SECCOMP): Invalid argument seccomp", []string{"seccomp filter"}},
		{"bwrap: Can't mkdir /home/sandbox: Read-only file system", []string{"read-only directory"}},
		{"bwrap: something never seen", []string{"something never seen", "doctor"}},
		{"", []string{"exit code 1"}},
	} {
		t.Run(tt.says, func(t *testing.T) {
			dir := testkit.Dir(t)
			fake := "#!/bin/sh\nprintf %s \"" + tt.says + "\" >&2\nexit 1\n"
			if err := os.WriteFile(filepath.Join(dir, "bwrap"), []byte(fake), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			conn := local.Dial()
			defer conn.Close()
			refusal(t, try(t.Context(), conn, script(t, "true")), diag.Sandbox, tt.want...)
		})
	}
}

func TestBubblewrapMissing(t *testing.T) {
	for _, login := range []string{"root", testkit.User(t)} {
		t.Run(login, func(t *testing.T) {
			dir := testkit.Dir(t)
			for _, tool := range []string{"unshare", "mount", "sleep", "grep", "rmdir", "mkdir", "readlink"} {
				if err := os.Symlink(testkit.Tool(t, tool), filepath.Join(dir, tool)); err != nil {
					t.Fatal(err)
				}
			}
			h := sandboxtest.SSH(t, "ssh", login, testkit.ConfigLines("SetEnv PATH="+dir))
			refusal(t, try(t.Context(), h.Dial(t), script(t, "true")), diag.Sandbox, "bubblewrap (bwrap) is not installed", "apt-get install bubblewrap")
		})
	}
}

// TestUnshareMissing: root is not given a sandbox with a writable /dev instead.
func TestUnshareMissing(t *testing.T) {
	dir := testkit.Dir(t)
	if err := os.Symlink(testkit.Tool(t, "bwrap"), filepath.Join(dir, "bwrap")); err != nil {
		t.Fatal(err)
	}
	h := sandboxtest.SSH(t, "ssh", "root", testkit.ConfigLines("SetEnv PATH="+dir))
	refusal(t, try(t.Context(), h.Dial(t), script(t, "true")), diag.Sandbox, "util-linux")
}
