package mcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// wire is a server whose standard input and output the test holds itself.
type wire struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	stderr bytes.Buffer

	mu    sync.Mutex
	lines []string // all that the server wrote
	ended chan struct{}
}

func (w *world) wire(flags ...string) *wire {
	w.t.Helper()
	x := &wire{t: w.t, cmd: exec.Command(program, append([]string{"mcp", "serve"}, flags...)...), ended: make(chan struct{})}
	x.cmd.Env, x.cmd.Stderr = w.env, &x.stderr
	var err error
	if x.in, err = x.cmd.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	out, err := x.cmd.StdoutPipe()
	if err == nil {
		err = x.cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(x.ended)
		s := bufio.NewScanner(out)
		s.Buffer(nil, 64<<20)
		for s.Scan() {
			x.mu.Lock()
			x.lines = append(x.lines, s.Text())
			x.mu.Unlock()
		}
	}()
	w.t.Cleanup(func() {
		_ = x.in.Close()
		_ = x.cmd.Process.Kill() // it may be gone
		<-x.ended
		_ = x.cmd.Wait()
	})
	return x
}

func (x *wire) send(line string) {
	x.t.Helper()
	if _, err := io.WriteString(x.in, line+"\n"); err != nil {
		x.t.Fatalf("the server does not read: %v\n%s", err, x.stderr.String())
	}
}

func (x *wire) initialize() {
	x.t.Helper()
	x.send(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`)
	x.answer("init")
	x.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

// answer waits for the answer to a request.
func (x *wire) answer(id string) string {
	x.t.Helper()
	var got string
	eventually(x.t, "an answer to "+id+"; standard error: "+x.stderr.String(), func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, l := range x.lines {
			var m struct{ ID any }
			if json.Unmarshal([]byte(l), &m) == nil && m.ID == id {
				got = l
				return true
			}
		}
		return false
	})
	return got
}

func (x *wire) call(id, tool, args string) {
	x.t.Helper()
	x.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, tool, args))
}

// lives checks that the server answers, and that it wrote nothing but the protocol.
func (x *wire) lives(id string) {
	x.t.Helper()
	x.call(id, "run", `{"target":"web1","argv":["echo","alive"]}`)
	if got := x.answer(id); !strings.Contains(got, `alive\n`) {
		x.t.Errorf("answer %s", got)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, l := range x.lines {
		var m struct{ JSONRPC string }
		if err := json.Unmarshal([]byte(l), &m); err != nil || m.JSONRPC != "2.0" {
			x.t.Errorf("on the protocol's stream: %q", l[:min(len(l), 200)])
		}
	}
}

// TestBadLines: lines that are no requests, also huge ones, do not end the server.
func TestBadLines(t *testing.T) {
	w := newWorld(t, 1)
	for name, line := range map[string]string{
		"no JSON": "hello", "half": `{"jsonrpc":"2.0","id":1,`, "empty": "", "null": "null", "number": "7", "list": "[]", "object": "{}", "bytes": "\xff\xfe\x00",
		"no method": `{"jsonrpc":"2.0","id":5}`, "method of a number": `{"jsonrpc":"2.0","id":5,"method":7}`, "other version": `{"jsonrpc":"1.0","id":5,"method":"ping"}`,
		"params of a string": `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":"x"}`, "arguments of a list": `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"run","arguments":[1]}}`,
		"unknown method": `{"jsonrpc":"2.0","id":"u","method":"shell/exec","params":{}}`, "unknown notification": `{"jsonrpc":"2.0","method":"notifications/bogus"}`,
		"cancel of nothing": `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}`, "answer to nothing": `{"jsonrpc":"2.0","id":77,"result":{}}`,
		"deep": strings.Repeat("[", 100000), "two in one": `{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}`,
		"64 MiB": strings.Repeat("x", 64<<20), "64 MiB of a call": `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"run","arguments":{"argv":["` + strings.Repeat("x", 64<<20) + `"]}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			x := w.wire()
			x.t = t
			x.initialize()
			x.send(line)
			x.lives("after")
			if name == "unknown method" && !strings.Contains(x.answer("u"), "-32601") {
				t.Errorf("answer %s", x.answer("u"))
			}
			if kib := peak(t, x.cmd.Process.Pid); kib > 400<<10 {
				t.Errorf("it took %d KiB", kib)
			}
		})
	}
}

// peak is the largest resident size that a process had, in KiB.
func peak(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		var kib int
		if n, _ := fmt.Sscanf(l, "VmHWM: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestConcurrentAndCancelled: calls do not wait for each other, a cancelled one ends on
// the target, and what it would have said is not sent.
func TestConcurrentAndCancelled(t *testing.T) {
	w := newWorld(t, 1)
	x := w.wire()
	x.initialize()
	mark := "97531"
	x.call("slow", "run", `{"target":"web1","profile":"script","script":"sleep `+mark+`","timeout_seconds":600}`)
	eventually(t, "it runs", func() bool { return sleeping(mark) })
	for i := range 20 {
		x.call(fmt.Sprint("quick", i), "run", `{"target":"web1","argv":["echo","alive"]}`)
	}
	for i := range 20 {
		if got := x.answer(fmt.Sprint("quick", i)); !strings.Contains(got, `alive\n`) {
			t.Errorf("answer %s", got)
		}
	}
	x.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"slow","reason":"changed my mind"}}`)
	eventually(t, "it ends on the target", func() bool { return !sleeping(mark) })
	x.lives("after")
}

// TestClientLeaves: when the client is gone, so is the server, and what it ran.
func TestClientLeaves(t *testing.T) {
	w := newWorld(t, 1)
	for name, leave := range map[string]func(*wire){
		"closes its end": func(x *wire) { _ = x.in.Close() },
		"kills us":       func(x *wire) { _ = x.cmd.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			x := w.wire()
			x.initialize()
			mark := "97532"
			x.call("slow", "run", `{"target":"web1","profile":"script","script":"sleep `+mark+`","timeout_seconds":600,"background":true}`)
			eventually(t, "it runs", func() bool { return sleeping(mark) })
			leave(x)
			select {
			case <-x.ended:
			case <-time.After(20 * time.Second):
				t.Fatal("the server lives")
			}
			eventually(t, "it ends on the target", func() bool { return !sleeping(mark) })
		})
	}
}
