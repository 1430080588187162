//go:build linux

// Package circle holds plan, approve, apply, resume and rollback to their promises
// from end to end: through package bowline, a real sshd and the real helper, on
// throwaway hosts. What a plan promises is compared with what the script does when
// it is simply run; whole trees are compared, with everything a file system keeps
// of a file.
//
// # Throwaway hosts
//
// A world is a mount namespace whose root is an overlay over the root of this
// machine, with its changes in memory; sshd's sessions are led into it. So a script
// may install packages there. A dry run in a world is an overlay over an overlay,
// which is as deep as the kernel goes: where the root of this machine is an overlay
// itself (in a container), these tests cannot run. Directories of their own ("play")
// are a tmpfs in the world, so that scripts have a plain file system too.
//
// All mounts are in a mount namespace of the test binary: however it ends, nothing
// is left. It needs root, python3, perl, git, make, gcc, sqlite3 and setcap.
//
// The full campaign, with every package and every moment of a crash, runs with
// BOWLINE_CIRCLE=full; without, a part of it that stands for the rest.
package circle

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// apart says that this process already is in a mount namespace of its own.
const apart = "BOWLINE_CIRCLE_APART"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "world" {
		os.Exit(holdWorld(os.Args[2:]))
	}
	if os.Geteuid() == 0 && os.Getenv(apart) == "" {
		if err := setApart(); err != nil {
			fmt.Fprintln(os.Stderr, "a mount namespace for the tests:", err)
			os.Exit(1)
		}
	}
	os.Setenv("SSH_AUTH_SOCK", "")
	os.Exit(m.Run())
}

// setApart moves this process into a mount namespace of its own. Only a thread can
// move; executing the program again makes it the process.
func setApart() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	// Every system has /media; what is in it is not seen until the end.
	if err := unix.Mount("circle", stock, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), apart+"=1"))
}

// full reports whether to run the whole campaign.
func full() bool { return os.Getenv("BOWLINE_CIRCLE") == "full" }
