// Package transporttest holds the suite that every implementation of
// [transport.Conn] passes.
package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/transport"
)

// patience bounds what must happen soon; it is long so that a loaded machine
// does not fail the suite.
const patience = 30 * time.Second

// Run checks that connections made by dial keep the contract of
// [transport.Conn] and [transport.Process]. dial returns a new connection each
// time and leaves closing it to the suite. The account's login shell must be a
// Bourne shell.
func Run(t *testing.T, dial func(t *testing.T) transport.Conn) {
	for _, tt := range []struct {
		name string
		run  func(*testing.T, transport.Conn)
	}{
		{"ExitCodes", exitCodes},
		{"Signal", signal},
		{"StreamsAreSeparate", streams},
		{"BytesSurvive", bytesSurvive},
		{"StdinEndOfFile", stdinEOF},
		{"StdinCloseIsIdempotent", stdinClose},
		{"StdinAfterTheEnd", stdinAfterEnd},
		{"LargeBothWays", largeBothWays},
		{"NoTerminal", noTerminal},
		{"Concurrent", concurrent},
		{"WaitTwice", waitTwice},
		{"UnreadOutputIsKept", unreadOutput},
		{"ProcessCloseIsIdempotent", processClose},
		{"ProcessCloseLeavesConnUsable", processCloseLeavesConn},
		{"StartWithDoneContext", startCanceled},
		{"StartRefusesNUL", startNUL},
		{"CloseIsIdempotent", closeTwice},
		{"CloseEndsProcesses", closeEndsProcesses},
		{"StartAfterClose", startAfterClose},
		{"Info", info},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t)
			t.Cleanup(func() { c.Close() })
			tt.run(t, c)
		})
	}
}

// Output runs line to its end with input on standard input and returns what it
// wrote. It fails the test if the outcome is unknown.
func Output(t testing.TB, c transport.Conn, line, input string) (stdout, stderr string, exit transport.Exit) {
	t.Helper()
	p := start(t, c, line)
	defer p.Close()
	out, errOut, exit, err := finish(p, strings.NewReader(input))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return string(out), string(errOut), exit
}

func start(t testing.TB, c transport.Conn, line string) transport.Process {
	t.Helper()
	p, err := c.Start(t.Context(), line)
	if err != nil {
		t.Fatalf("Start(%q): %v", line, err)
	}
	return p
}

// finish feeds p, reads both streams and waits.
func finish(p transport.Process, input io.Reader) (stdout, stderr []byte, exit transport.Exit, err error) {
	var readers sync.WaitGroup
	readers.Go(func() { stdout, _ = io.ReadAll(p.Stdout()) })
	readers.Go(func() { stderr, _ = io.ReadAll(p.Stderr()) })
	readers.Go(func() {
		_, _ = io.Copy(p.Stdin(), input) // the program need not read it
		_ = p.Stdin().Close()
	})
	exit, err = p.Wait()
	readers.Wait()
	return stdout, stderr, exit, err
}

// soon runs f and fails the test if it does not return.
func soon(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		t.Fatalf("%s did not return within %v", what, patience)
	}
}

func exitCodes(t *testing.T, c transport.Conn) {
	for _, code := range []int{0, 1, 3, 126, 127, 255} {
		_, _, exit := Output(t, c, fmt.Sprintf("exit %d", code), "")
		if exit != (transport.Exit{Code: code}) {
			t.Errorf("exit %d: got %+v", code, exit)
		}
	}
	if _, _, exit := Output(t, c, "/usr/bin/bowline-no-such-program", ""); exit.Code != 127 {
		t.Errorf("a program that does not exist: got %+v, want code 127", exit)
	}
}

func signal(t *testing.T, c transport.Conn) {
	for name, number := range map[string]int{"KILL": 9, "TERM": 15} {
		_, _, exit := Output(t, c, "kill -"+name+" $$", "")
		if want := (transport.Exit{Code: 128 + number, Signal: name}); exit != want {
			t.Errorf("killed by %s: got %+v, want %+v", name, exit, want)
		}
	}
}

func streams(t *testing.T, c transport.Conn) {
	out, errOut, _ := Output(t, c, "echo to-out; echo to-err >&2", "")
	if out != "to-out\n" || errOut != "to-err\n" {
		t.Errorf("stdout %q, stderr %q; want them apart", out, errOut)
	}
}

func bytesSurvive(t *testing.T, c transport.Conn) {
	all := make([]byte, 0, 512)
	for i := range 512 {
		all = append(all, byte(i))
	}
	out, _, _ := Output(t, c, "cat", string(all))
	if out != string(all) {
		t.Errorf("cat gave %d bytes back, changed", len(out))
	}
}

func stdinEOF(t *testing.T, c transport.Conn) {
	soon(t, "cat with closed stdin", func() {
		if out, _, exit := Output(t, c, "cat; echo end", ""); out != "end\n" || exit.Code != 0 {
			t.Errorf("got %q, %+v; want cat to see the end of its input", out, exit)
		}
	})
}

func stdinClose(t *testing.T, c transport.Conn) {
	p := start(t, c, "cat")
	defer p.Close()
	for range 2 {
		if err := p.Stdin().Close(); err != nil {
			t.Errorf("Close of stdin: %v", err)
		}
	}
	if _, err := p.Stdin().Write([]byte("late")); err == nil {
		t.Error("Write after Close of stdin succeeded")
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Errorf("Wait = %+v, %v", exit, err)
	}
}

func stdinAfterEnd(t *testing.T, c transport.Conn) {
	p := start(t, c, "exit 0")
	defer p.Close()
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	soon(t, "Write to a program that has ended", func() {
		if _, err := p.Stdin().Write(make([]byte, 4<<20)); err == nil {
			t.Error("Write to a program that has ended succeeded")
		}
	})
}

func largeBothWays(t *testing.T, c transport.Conn) {
	const size = 10 << 20
	want := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	p := start(t, c, "tee /dev/stderr")
	defer p.Close()
	out, errOut, exit, err := finish(p, bytes.NewReader(want))
	if err != nil || exit.Code != 0 {
		t.Fatalf("Wait = %+v, %v", exit, err)
	}
	if !bytes.Equal(out, want) || !bytes.Equal(errOut, want) {
		t.Errorf("got %d and %d bytes back, want %d each, unchanged", len(out), len(errOut), size)
	}
}

func noTerminal(t *testing.T, c transport.Conn) {
	if out, _, _ := Output(t, c, "test -t 0 || test -t 1 || test -t 2 || echo none", ""); out != "none\n" {
		t.Errorf("got %q; want no terminal on any stream", out)
	}
}

func concurrent(t *testing.T, c transport.Conn) {
	const n = 5 // sshd allows ten
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			p, err := c.Start(t.Context(), fmt.Sprintf("read x; echo $x; exit %d", i))
			if err != nil {
				t.Errorf("Start: %v", err)
				return
			}
			defer p.Close()
			out, _, exit, err := finish(p, strings.NewReader(fmt.Sprintf("input-%d\n", i)))
			if err != nil || exit.Code != i || string(out) != fmt.Sprintf("input-%d\n", i) {
				t.Errorf("process %d: %q, %+v, %v", i, out, exit, err)
			}
		})
	}
	all.Wait()
}

func waitTwice(t *testing.T, c transport.Conn) {
	p := start(t, c, "exit 4")
	defer p.Close()
	for range 2 {
		if exit, err := p.Wait(); err != nil || exit.Code != 4 {
			t.Errorf("Wait = %+v, %v", exit, err)
		}
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close after Wait: %v", err)
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 4 {
		t.Errorf("Wait after Close = %+v, %v; want the known outcome", exit, err)
	}
}

func unreadOutput(t *testing.T, c transport.Conn) {
	p := start(t, c, "echo late")
	defer p.Close()
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if out, err := io.ReadAll(p.Stdout()); err != nil || string(out) != "late\n" {
		t.Errorf("output read after Wait = %q, %v", out, err)
	}
}

func processClose(t *testing.T, c transport.Conn) {
	p := start(t, c, "exec sleep 600")
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	soon(t, "Wait after Close", func() {
		if _, err := p.Wait(); err == nil || errors.Is(err, transport.ErrLost) {
			t.Errorf("Wait after Close = %v; want an error, but not ErrLost: the link is fine", err)
		}
	})
	soon(t, "Read after Close", func() { _, _ = io.Copy(io.Discard, p.Stdout()) })
}

func processCloseLeavesConn(t *testing.T, c transport.Conn) {
	start(t, c, "exec sleep 600").Close()
	if out, _, _ := Output(t, c, "echo still here", ""); out != "still here\n" {
		t.Errorf("after Close of a process: %q", out)
	}
}

func startCanceled(t *testing.T, c transport.Conn) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p, err := c.Start(ctx, "exit 0")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Start with a canceled context = %v, %v", p, err)
	}
	if out, _, _ := Output(t, c, "echo fine", ""); out != "fine\n" {
		t.Errorf("after a canceled Start: %q", out)
	}
}

func startNUL(t *testing.T, c transport.Conn) {
	if p, err := c.Start(t.Context(), "echo a\x00b"); err == nil {
		p.Close()
		t.Error("Start took a line with a NUL byte; the far side would cut it there")
	}
	// It must not get as far as sshd, which ends the connection over it.
	if out, _, _ := Output(t, c, "echo fine", ""); out != "fine\n" {
		t.Errorf("after a refused line: %q", out)
	}
}

func closeTwice(t *testing.T, c transport.Conn) {
	select {
	case <-c.Done():
		t.Fatal("Done is closed while the connection is open")
	default:
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	soon(t, "Done after Close", func() { <-c.Done() })
}

func closeEndsProcesses(t *testing.T, c transport.Conn) {
	p := start(t, c, "exec sleep 600")
	soon(t, "Close", func() { c.Close() })
	soon(t, "Wait after Close of the connection", func() {
		if _, err := p.Wait(); err == nil {
			t.Error("Wait reports an outcome nobody knows")
		}
	})
	soon(t, "Read after Close of the connection", func() { _, _ = io.Copy(io.Discard, p.Stdout()) })
}

func startAfterClose(t *testing.T, c transport.Conn) {
	c.Close()
	if _, err := c.Start(t.Context(), "exit 0"); err == nil || errors.Is(err, transport.ErrBusy) {
		t.Errorf("Start after Close = %v", err)
	}
}

func info(t *testing.T, c transport.Conn) {
	i := c.Info()
	if slices.Contains([]string{i.Address, i.Login}, "") {
		t.Errorf("Info = %+v; want address and login", i)
	}
	if (i.HostKeyType == "") != (i.Fingerprint == "") {
		t.Errorf("Info = %+v; want type and fingerprint of the host key together", i)
	}
}
