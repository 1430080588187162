package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestDeviceOfSomebodyElse: container runtimes give a container's user the host's
// /dev/null where it is their standard input. The other devices are still the host's.
func TestDeviceOfSomebodyElse(t *testing.T) {
	testkit.Root(t)
	for _, helper := range []bool{false, true} {
		t.Run(fmt.Sprintf("helper %v", helper), func(t *testing.T) {
			dev := testkit.Dir(t)
			for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
				node(t, filepath.Join(dev, name), unix.Mkdev(1, minor))
			}
			node(t, filepath.Join(dev, "tty"), unix.Mkdev(5, 0))
			if err := os.Chown(filepath.Join(dev, "null"), 65532, 65532); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(dev, "shm"), 0o777); err != nil {
				t.Fatal(err)
			}
			home := testkit.Dir(t)
			h := sandboxtest.SSH(t, "ssh", "root", testkit.Bind(dev, "/dev"), testkit.ConfigLines("SetEnv HOME="+home))
			h.Helper, h.Home = helper, home
			attackAll(t, h.Dial(t), sandboxtest.Builtin(t, "script"))
			if info, err := os.Stat(filepath.Join(dev, "full")); err != nil || info.Mode().Perm() != 0o666 {
				t.Errorf("/dev/full is %v, %v", info.Mode(), err)
			}
		})
	}
}

func node(t *testing.T, path string, dev uint64) {
	t.Helper()
	if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(dev)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
}
