package box

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestSetup plans the set-up of a real host, and changes nothing there.
func TestSetup(t *testing.T) {
	t.Parallel()
	testkit.Root(t)
	l := newLaptop(t)
	b, err := os.ReadFile("../../scripts/setup-server.sh")
	if err != nil {
		t.Fatal(err)
	}
	if out := l.bowline("box", "setup", "--print"); out != string(b) {
		t.Errorf("--print prints another script: %s", out)
	}
	out := l.bowline("box", "setup", "-t", "dev1")
	for _, want := range []string{"/etc/systemd/system/podman.socket.d/bowline.conf", "/etc/tmpfiles.d/bowline-podman.conf", "systemctl enable --now podman.socket", "systemd-tmpfiles --create", "bowline approve", "bowline apply", "pending"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not say %q:\n%s", want, out)
		}
	}
	if _, err := os.Stat("/etc/tmpfiles.d/bowline-podman.conf"); err == nil {
		t.Error("the host was changed")
	}
	var doc struct {
		ID     string
		Status string
	}
	if err := json.Unmarshal([]byte(l.bowline("box", "setup", "-t", "dev1", "--json")), &doc); err != nil || !strings.Contains(doc.ID, "box-setup") || doc.Status != "pending" {
		t.Errorf("%+v, %v", doc, err)
	}
	l.config("[targets.here]\ntype = \"local\"\n")
	l.fails(12, []string{remoteOnly}, "box", "setup", "-t", "here")
}
