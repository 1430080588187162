//go:build linux

package overlay

import (
	"os"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

func root(t testing.TB) {
	t.Helper()
	testkit.Root(t)
}

// TestThread is the whole of the dry run in one: a change, a deletion, a deferred
// command between, and a host that is as it was.
func TestThread(t *testing.T) {
	root(t)
	d := must(t, `echo x > /etc/bowline-thread; systemctl --quiet restart ssh; rm /etc/motd; echo done; exit 3`)
	const want = "create /etc/bowline-thread\nrun systemctl --quiet restart ssh\ndelete /etc/motd\n"
	if d.summary() != want || d.Exit != 3 || d.out.String() != "done\n" {
		t.Errorf("got %q, exit %d, output %q, stderr %q, warnings %q", d.summary(), d.Exit, d.out.String(), d.errs.String(), d.Warnings)
	}
	if _, err := os.Stat("/etc/bowline-thread"); err == nil {
		t.Error("the host was changed")
	}
	if _, err := os.Stat("/etc/motd"); err != nil {
		t.Error("the host was changed")
	}
	t.Logf("%+v %q", d.Stats, d.Labels)
}
