package box

import (
	"os"
	"os/exec"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestDebian is the day of a box with a whole Debian, as debootstrap makes it and as
// 'podman import' takes it: twice in a row, and three boxes of two worktrees at once. It runs
// before the others, whose load its time limits do not bear.
func TestDebian(t *testing.T) {
	tarball := testkit.DebianTarball(t)
	l := newLaptop(t)
	l.imports(tarball, testkit.DebianImage)
	l.write(".ssh/config", usersConfig)
	key, _ := testkit.ClientKey(t, l.home, "day")
	for _, src := range []string{"src/first", "src/second"} {
		l.day(t, src, "--image", testkit.DebianImage, "--authorized-keys", key+".pub")
	}
	l.threeAtOnce(t, testkit.DebianImage)
}

// imports makes an image of a tarball on the server.
func (l *laptop) imports(tarball, image string) {
	l.t.Helper()
	f, err := os.Open(tarball)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.CommandContext(l.t.Context(), "ssh", l.sshArgs("podman import -q - "+image)...)
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("import %s: %v\n%s", image, err, out)
	}
}
