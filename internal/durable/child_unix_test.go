//go:build unix

package durable

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary runs itself for what must happen in another process: losing
// rights, running out of space, dying with a lock.
func TestMain(m *testing.M) {
	role, path := os.Getenv("DURABLE_ROLE"), os.Getenv("DURABLE_PATH")
	switch role {
	case "":
		os.Exit(m.Run())
	case "readonly":
		childReadOnly(path)
	case "full":
		childFull(path)
	case "holder":
		childHolder(path)
	case "writer":
		childWriter(path)
	}
}

func child(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "DURABLE_ROLE="+role, "DURABLE_PATH="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

func childReadOnly(path string) {
	if os.Getuid() == 0 { // root writes anywhere; become nobody
		if err := syscall.Setuid(65534); err != nil {
			fmt.Println("setuid:", err)
			return
		}
	}
	fmt.Println(errors.Is(WriteFile(path, []byte("new"), 0o600), fs.ErrPermission))
}

func TestWriteFileReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "durable") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700); os.RemoveAll(dir) })
	path := filepath.Join(dir, "f")
	write(t, path, "old")
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	out, err := child(t, "readonly", path).Output()
	if err != nil || string(out) != "true\n" {
		t.Errorf("write into a read-only directory: %q, %v; want a permission error", out, err)
	}
	wantContent(t, path, "old")
	wantEntries(t, dir, 1)
}

// childFull limits the size of files to 4 KiB, which the kernel enforces with
// a short write and EFBIG as it does a full disk with ENOSPC, for any user.
func childFull(path string) {
	signal.Ignore(syscall.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4096, Max: 4096}); err != nil {
		fmt.Println("setrlimit:", err)
		return
	}
	fmt.Println(WriteFile(path, make([]byte, 10000), 0o600) != nil)
}

func TestWriteFileNoSpace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "old")
	out, err := child(t, "full", path).Output()
	if err != nil || string(out) != "true\n" {
		t.Errorf("write without space: %q, %v; want an error", out, err)
	}
	wantContent(t, path, "old")
	wantEntries(t, filepath.Dir(path), 1)
}

func childHolder(path string) {
	if _, err := Lock(context.Background(), path); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("held")
	os.Stdin.Read(make([]byte, 1)) // until killed: the parent never writes
}

func TestLockExcludesAndDiesWithItsProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	holder := child(t, "holder", path)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("holder says %q, %v", line, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Lock while held elsewhere = %v, want the deadline", err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	holder.Wait()
	l, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatalf("Lock after the holder was killed = %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
}

func childWriter(path string) {
	for i := 0; ; i++ {
		data := strings.Repeat(fmt.Sprintf("%d\n", i%10), 5000)
		if err := WriteFile(path, []byte(data), 0o600); err != nil {
			fmt.Println(err)
			return
		}
	}
}

// Killed at any moment, a writer leaves a whole file.
func TestWriteFileKilled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, strings.Repeat("x\n", 5000))
	for i := range 20 {
		w := child(t, "writer", path)
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(10+3*i)*time.Millisecond, func() { w.Process.Kill() })
		w.Wait()
		got, err := os.ReadFile(path)
		if err != nil || len(got) != 10000 || strings.Count(string(got), string(got[:2])) != 5000 {
			t.Fatalf("after kill %d: %d bytes, %v; want one whole version", i, len(got), err)
		}
	}
}
