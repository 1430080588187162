package sandbox_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
	"github.com/bowline-sh/bowline/internal/transport"
)

// TestExec is what every transport and account must do alike.
func TestExec(t *testing.T) {
	cases := []struct {
		name string
		run  func(*testing.T, transport.Conn)
	}{
		{"Status", testStatus},
		{"NotStarted", testNotStarted},
		{"NotMisread", testNotMisread},
		{"Stdin", testStdin},
		{"Bytes", testBytes},
		{"Arguments", testArguments},
		{"ArgumentTooLong", testArgumentTooLong},
		{"Environment", testEnvironment},
		{"Truncation", testTruncation},
		{"OutputFails", testOutputFails},
		{"FloodCostsNoMemory", testFloodCostsNoMemory},
		{"NonBlocking", testNonBlocking},
		{"KillsAround", testKillsAround},
		{"Background", testBackground},
		{"ReadOnlyAndPrivate", testReadOnlyAndPrivate},
	}
	onEveryHost(t, func(t *testing.T, h sandboxtest.Host) {
		conn, cgroupsGone := h.Dial(t), sandboxtest.WatchCgroups(t)
		for _, tt := range cases {
			t.Run(tt.name, func(t *testing.T) { tt.run(t, conn) })
		}
		cgroupsGone()
	})
}

func testStatus(t *testing.T, conn transport.Conn) {
	for _, tt := range []struct {
		script string
		code   int
		signal string
	}{
		{"exit 0", 0, ""},
		{"exit 1", 1, ""},
		{"exit 42", 42, ""},
		{"exit 125", 125, ""},
		{"exit 127", 127, ""},
		{"exit 255", 255, ""},
		{"kill -9 $$", 137, "KILL"},
		{"kill -TERM $$", 143, "TERM"},
		{"kill -SEGV $$", 139, "SEGV"},
		{"kill -HUP $$", 129, "HUP"},
		{"kill -PIPE $$", 141, "PIPE"},
	} {
		t.Run(tt.script, func(t *testing.T) {
			o := ran(t, try(t.Context(), conn, sh(t, tt.script)))
			if o.ExitCode != tt.code || o.Signal != tt.signal || o.TimedOut || o.Truncated || o.Duration <= 0 {
				t.Errorf("%+v, want code %d and signal %q", o.Result, tt.code, tt.signal)
			}
		})
	}
}

func testNotStarted(t *testing.T, conn transport.Conn) {
	t.Run("not found", func(t *testing.T) {
		refusal(t, try(t.Context(), conn, script(t, "nosuch-program", "x")), diag.NotFound, `"nosuch-program"`, "profile script")
		refusal(t, try(t.Context(), conn, script(t, "/usr/bin/nosuch")), diag.NotFound, `"/usr/bin/nosuch"`)
	})
	t.Run("not executable", func(t *testing.T) {
		refusal(t, try(t.Context(), conn, script(t, "/etc/passwd")), diag.Refused, `"/etc/passwd"`)
	})
	t.Run("a directory", func(t *testing.T) {
		refusal(t, try(t.Context(), conn, script(t, "/etc")), diag.Refused, `"/etc"`)
	})
	t.Run("no such directory to start in", func(t *testing.T) {
		cmd := script(t, "touch", "/tmp/x")
		cmd.Cwd = "/nosuch place"
		refusal(t, try(t.Context(), conn, cmd), diag.Usage, `"/nosuch place"`, "nothing ran", "--cwd")
	})
	t.Run("NUL in an argument", func(t *testing.T) {
		refusal(t, try(t.Context(), conn, script(t, "echo", "a\x00b")), diag.Usage, "NUL")
	})
}

// testNotMisread runs commands that speak as bubblewrap, sh or BOOT would.
func testNotMisread(t *testing.T, conn transport.Conn) {
	for _, text := range []string{
		"bwrap: execvp x: No such file or directory", "bwrap: Can't chdir to /x: No such file", "bwrap: ", "bwra", "sh: 1: exec: bwrap: not found",
		"bowline: cannot resolve", `{ "exit-code": 0 }`, "bwrap: " + strings.Repeat("x", 20000),
	} {
		o := ran(t, try(t.Context(), conn, script(t, "sh", "-c", `printf "%s" "$1" >&2; exit 1`, "sh", text)))
		if o.ExitCode != 1 || o.log != text {
			t.Errorf("code %d, stderr %.60q; want 1 and %.60q", o.ExitCode, o.log, text)
		}
	}
}

func testStdin(t *testing.T, conn transport.Conn) {
	t.Run("closed unless given", func(t *testing.T) {
		if o := ran(t, try(t.Context(), conn, script(t, "cat"))); o.ExitCode != 0 || o.out != "" {
			t.Errorf("%+v %q", o.Result, o.out)
		}
	})
	t.Run("piped", func(t *testing.T) {
		data := bytes.Repeat([]byte("\x00\xff\x02line\n"), 200_000)
		cmd := script(t, "sha256sum")
		cmd.Stdin = bytes.NewReader(data)
		sum := sha256.Sum256(data)
		if o := ran(t, try(t.Context(), conn, cmd)); !strings.HasPrefix(o.out, hex.EncodeToString(sum[:])) {
			t.Errorf("%q, want %x", o.out, sum)
		}
	})
	t.Run("not read to its end", func(t *testing.T) {
		cmd := script(t, "head", "-c", "3")
		cmd.Stdin = io.LimitReader(zeros{}, 8<<20)
		if o := ran(t, try(t.Context(), conn, cmd)); o.out != "\x00\x00\x00" {
			t.Errorf("%q", o.out)
		}
	})
	t.Run("looks like our own lines", func(t *testing.T) {
		cmd := script(t, "cat")
		cmd.Stdin = strings.NewReader("\n\nset -- evil\n")
		if o := ran(t, try(t.Context(), conn, cmd)); o.out != "\n\nset -- evil\n" {
			t.Errorf("%q", o.out)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func testBytes(t *testing.T, conn transport.Conn) {
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	all = append(all, "\x02 no newline at the end"...)
	cmd := script(t, "sh", "-c", "cat; printf '\\377\\376\\002abc' >&2")
	cmd.Stdin = bytes.NewReader(all)
	o := ran(t, try(t.Context(), conn, cmd))
	if o.out != string(all) || o.log != "\xff\xfe\x02abc" {
		t.Errorf("stdout %q, stderr %q", o.out, o.log)
	}
	if o.StdoutBytes != int64(len(all)) || o.StderrBytes != 6 {
		t.Errorf("counted %d and %d bytes", o.StdoutBytes, o.StderrBytes)
	}
}

func testArguments(t *testing.T, conn transport.Conn) {
	many := make([]string, 2000)
	for i := range many {
		many[i] = strconv.Itoa(i) + " $(x)"
	}
	for name, args := range map[string][]string{
		"odd": {"", " ", "\n", "a\nb\n", "'", "''", `"`, `\`, `\'`, `'\''`, "$HOME", "`id`", "$(id)", "!", "!!", "*", "?", "[a]", "~", "~root",
			"-n", "--", "-", ";", "&", "|", ">", "<", "#", "=x", "a=b", "{a,b}", "%s", `\n`, "\t", "\r", "\x01\x02\x7f", "\xff\xfe", "héllo ☃ 世界", "", "^", "a b  c"},
		"large": {strings.Repeat("x", 50<<10) + "'\\\n" + strings.Repeat("y", 50<<10)},
		"many":  many,
	} {
		t.Run(name, func(t *testing.T) {
			o := ran(t, try(t.Context(), conn, script(t, append([]string{"printf", `%s\0`}, args...)...)))
			if got := strings.Split(strings.TrimSuffix(o.out, "\x00"), "\x00"); !slices.Equal(got, args) {
				t.Errorf("%d arguments %.200q, want %d %.200q", len(got), got, len(args), args)
			}
		})
	}
}

// testArgumentTooLong: the kernel takes 128 KiB (MAX_ARG_STRLEN, execve(2)).
func testArgumentTooLong(t *testing.T, conn transport.Conn) {
	o := try(t.Context(), conn, script(t, "true", strings.Repeat("x", 200<<10)))
	refusal(t, o, diag.Usage, "too long")
}

// testEnvironment sees that values arrive as they are, and that no process list
// of the host ever shows them.
func testEnvironment(t *testing.T, conn transport.Conn) {
	secret := "s3cret-" + strings.ReplaceAll(t.Name(), "/", "-")
	env := map[string]string{"A": "", "B": "a\nb\n", "C": `'"\$(id)` + "`!`", "D": "\xff\xfe", "E": strings.Repeat("e", 60<<10), "SECRET": secret, "n": "1", "PATH": "/usr/bin:/bin"}
	cmd := script(t, "sh", "-c", `env -0; printf "%s" marker; cat`, "bowline-env-"+secret)
	cmd.Argv[3] = "bowline-env" // the secret itself is no argument
	cmd.Env = env
	inR, inW := io.Pipe()
	cmd.Stdin = inR
	outR, outW := io.Pipe()
	cmd.Stdout = outW
	done := make(chan outcome, 1)
	go func() {
		o := try(t.Context(), conn, cmd)
		outW.Close()
		done <- o
	}()
	var got bytes.Buffer
	for buf := make([]byte, 4096); !strings.HasSuffix(got.String(), "marker"); {
		n, err := outR.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v: %+v after %q", err, <-done, got.String())
		}
	}
	if seen := sandboxtest.With(secret); len(seen) > 0 {
		t.Errorf("process list: %v", seen)
	}
	inW.Close()
	ran(t, <-done)
	vars := map[string]string{}
	for v := range strings.SplitSeq(strings.TrimSuffix(got.String(), "marker"), "\x00") {
		if k, v, ok := strings.Cut(v, "="); ok {
			vars[k] = v
		}
	}
	for k, v := range env {
		if vars[k] != v {
			t.Errorf("%s is %.60q, want %.60q", k, vars[k], v)
		}
	}
	want := sandboxtest.Builtin(t, "script").Environment
	for k := range maps.Keys(vars) {
		if _, ours := want[k]; !ours && env[k] == "" && k != "A" && k != "PWD" {
			t.Errorf("%s=%q came from elsewhere", k, vars[k])
		}
	}
}

func testTruncation(t *testing.T, conn transport.Conn) {
	const total = 20 << 20
	cmd := sh(t, fmt.Sprintf("head -c %d /dev/zero; head -c %d /dev/zero >&2", total, total/2))
	cmd.Profile.Limits.Output = 3 << 20
	o := ran(t, try(t.Context(), conn, cmd))
	if !o.Truncated || o.StdoutBytes != total || o.StderrBytes != total/2 || len(o.out) != 3<<20 || len(o.log) != 3<<20 || o.ExitCode != 0 {
		t.Errorf("%+v, kept %d and %d", o.Result, len(o.out), len(o.log))
	}
	cmd = sh(t, "head -c 1000 /dev/zero")
	cmd.Profile.Limits.Output = 1000
	if o := ran(t, try(t.Context(), conn, cmd)); o.Truncated || len(o.out) != 1000 {
		t.Errorf("output of exactly the limit: %+v, kept %d", o.Result, len(o.out))
	}
}

// testOutputFails: a listener that goes away does not stop the command.
func testOutputFails(t *testing.T, conn transport.Conn) {
	cmd := sh(t, "head -c 1000000 /dev/zero; exit 3")
	cmd.Stdout = failing{}
	if o := ran(t, try(t.Context(), conn, cmd)); o.ExitCode != 3 || o.StdoutBytes != 1000000 {
		t.Errorf("%+v", o.Result)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("nobody listens") }

// testNonBlocking floods a stream that the command made non-blocking, until
// nothing goes through any more: the report of its end must still come.
func testNonBlocking(t *testing.T, conn transport.Conn) {
	const flood = `
import os, time
os.set_blocking(2, False)
stuck = 0
while stuck < 20:
    try:
        os.write(2, b"x" * 65536)
        stuck = 0
    except BlockingIOError:
        stuck += 1
        time.sleep(0.02)
os._exit(7)`
	before := sandboxtest.With("sleep\x000.1")
	cmd := script(t, "python3", "-c", flood)
	_, native := conn.(sandbox.Runner)
	cmd.Stderr = &plug{pulled: func() bool {
		if native { // reports over a pipe of its own: the command just ends
			return len(sandboxtest.With("os.set_blocking")) == 0
		}
		// BOOT sleeps between its tries.
		return slices.ContainsFunc(sandboxtest.With("sleep\x000.1"), func(p string) bool { return !slices.Contains(before, p) })
	}}
	if o := ran(t, try(t.Context(), conn, cmd)); o.ExitCode != 7 {
		t.Errorf("%+v", o.Result)
	}
}

// plug lets nothing through until pulled says so, or half a minute has passed.
type plug struct{ pulled func() bool }

func (p *plug) Write(b []byte) (int, error) {
	for deadline := time.Now().Add(20 * time.Second); p.pulled != nil && !p.pulled() && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond) // polls for the condition
	}
	p.pulled = nil
	return len(b), nil
}

// testKillsAround kills whatever the command can name.
func testKillsAround(t *testing.T, conn transport.Conn) {
	for _, tt := range []struct {
		script string
		code   int
	}{
		{"kill -9 1; kill -TERM 1; exit 5", 5},
		{"kill -9 $PPID; exit 6", 6},
		{"trap '' TERM; kill -TERM 0; kill -TERM -1; exit 8", 8},
		{"kill -9 -1; exit 9", 9}, // spares the one who calls, kill(2)
	} {
		if o := ran(t, try(t.Context(), conn, sh(t, tt.script))); o.ExitCode != tt.code {
			t.Errorf("%s: %+v, want %d", tt.script, o.Result, tt.code)
		}
	}
}

// testBackground: what a command leaves behind ends with it.
func testBackground(t *testing.T, conn transport.Conn) {
	marker := "31" + strconv.Itoa(os.Getpid()) + ".5"
	o := ran(t, try(t.Context(), conn, sh(t, "sleep "+marker+" & setsid sleep "+marker+" & (setsid sleep "+marker+" >/dev/null 2>&1 &) ; echo done")))
	if o.out != "done\n" {
		t.Errorf("%q", o.out)
	}
	sandboxtest.Gone(t, grace, marker)
}

func testReadOnlyAndPrivate(t *testing.T, conn transport.Conn) {
	const write = "for d in /usr /etc /; do touch $d/bowline-x 2>/dev/null && echo $d; done; echo kept > /tmp/f; cat /tmp/f; ls /run 2>&1; ls -A /tmp"
	for range 2 { // the second run sees nothing of the first
		o := ran(t, try(t.Context(), conn, sh(t, write)))
		if !strings.HasPrefix(o.out, "/\nkept\n") || !strings.HasSuffix(o.out, "\nf\n") {
			t.Errorf("%q", o.out)
		}
	}
	if _, err := os.Stat("/bowline-x"); err == nil {
		t.Error("the host's root was written to")
	}
}

// testFloodCostsNoMemory: what is dropped is not kept anywhere.
func testFloodCostsNoMemory(t *testing.T, conn transport.Conn) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cmd := script(t, "yes")
	cmd.Timeout = time.Second
	cmd.Stdout = io.Discard
	cmd.Profile.Limits.Output = 64 << 10
	o := ran(t, try(t.Context(), conn, cmd))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if o.StdoutBytes < 1<<20 || !o.Truncated {
		t.Errorf("no flood: %+v", o.Result)
	}
}
