package frame

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/bowline-sh/bowline/diag"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair connects a client to a server with handle, over a pipe.
func pair(t *testing.T, handle Handler) *Client {
	t.Helper()
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- Serve(context.Background(), far, far, handle)
		far.Close()
	}()
	c, banner, err := NewClient(near, near)
	if err != nil || banner != "" {
		t.Fatalf("NewClient: %q, %v", banner, err)
	}
	t.Cleanup(func() {
		near.Close()
		<-c.Done()
		if err := <-served; err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Serve = %v", err)
		}
	})
	return c
}

func echo(ctx context.Context, r *Request) (any, error) {
	switch r.Verb {
	case "echo":
		n, err := io.Copy(r.Stdout, r.Stdin)
		return map[string]int64{"bytes": n}, err
	case "fail":
		return nil, diag.New(diag.Conflict, "apply", "do this", "it %s", "changed")
	case "events":
		for i := range 5 {
			if err := r.Event(i); err != nil {
				return nil, err
			}
		}
		return strings.Repeat("x", 3*MaxPayload), nil
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "flood":
		_, err := io.Copy(r.Stdout, zeros{})
		return nil, err
	}
	return nil, fmt.Errorf("unknown verb %q", r.Verb)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestEchoManyAtOnce(t *testing.T) {
	c := pair(t, echo)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			in := bytes.Repeat([]byte{byte(i)}, 3*Window+i) // more than the window
			call, err := c.Open("echo", nil, nil)
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				_, _ = call.Stdin.Write(in)
				_ = call.Stdin.Close()
			}()
			out, err := io.ReadAll(call.Stdout)
			if err != nil || !bytes.Equal(in, out) {
				t.Errorf("call %d: %d bytes of %d, %v", i, len(out), len(in), err)
			}
			var res struct{ Bytes int }
			if err := call.Wait(t.Context(), &res); err != nil || res.Bytes != len(in) {
				t.Errorf("call %d: %+v, %v", i, res, err)
			}
		})
	}
	wg.Wait()
}

func TestErrorKeepsKindAndHint(t *testing.T) {
	c := pair(t, echo)
	call, err := c.Open("fail", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = call.Wait(t.Context(), nil)
	if diag.KindOf(err) != diag.Conflict || diag.HintOf(err) != "do this" || err.Error() != "apply: it changed" {
		t.Errorf("%v (%s, %q)", err, diag.KindOf(err), diag.HintOf(err))
	}
}

func TestEventsComeInOrderBeforeTheResult(t *testing.T) {
	c := pair(t, echo)
	var got []string
	call, err := c.Open("events", nil, func(m json.RawMessage) { got = append(got, string(m)) })
	if err != nil {
		t.Fatal(err)
	}
	var long string
	if err := call.Wait(t.Context(), &long); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != "[0 1 2 3 4]" || len(long) != 3*MaxPayload {
		t.Errorf("%v, %d", got, len(long))
	}
}

func TestCancelEndsTheHandler(t *testing.T) {
	c := pair(t, echo)
	ctx, cancel := context.WithCancel(t.Context())
	call, err := c.Open("wait", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := call.Wait(ctx, nil); err == nil {
		t.Error("a cancelled call ended without error")
	}
}

// TestSlowReaderHoldsNobodyUp: one call floods and nobody reads it; others work,
// and no more than a window is held.
func TestSlowReaderHoldsNobodyUp(t *testing.T) {
	c := pair(t, echo)
	flood, err := c.Open("flood", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	if _, err := io.ReadFull(flood.Stdout, one); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		call, err := c.Open("events", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Wait(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	in := flood.s.in[Output]
	in.mu.Lock()
	held := len(in.ring)
	in.mu.Unlock()
	if held > Window {
		t.Errorf("%d bytes held for a reader that does not read", held)
	}
}

func TestConnectionLoss(t *testing.T) {
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(context.Background(), far, far, echo) }()
	c, _, err := NewClient(near, near)
	if err != nil {
		t.Fatal(err)
	}
	call, err := c.Open("wait", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	if err := call.Wait(t.Context(), nil); err == nil {
		t.Error("a lost connection gave no error")
	}
	if _, err := io.ReadAll(call.Stdout); err == nil {
		t.Error("output of a lost connection ended like a whole one")
	}
	near.Close()
	<-served
	if _, err := c.Open("echo", nil, nil); err == nil {
		t.Error("a dead connection took a call")
	}
}

func TestBanner(t *testing.T) {
	_, banner, err := NewClient(strings.NewReader("Welcome to web1\n"+Magic[:5]+"\n"), io.Discard)
	if err == nil || !strings.HasPrefix(banner, "Welcome to web1\n") {
		t.Errorf("%q, %v", banner, err)
	}
	c, banner, err := NewClient(strings.NewReader("Welcome\n"+Magic), io.Discard)
	if err != nil || banner != "Welcome\n" {
		t.Errorf("%q, %v", banner, err)
	}
	<-c.Done()
}

// TestBrokenPeers: each of these ends the connection.
func TestBrokenPeers(t *testing.T) {
	open := func(id uint32, verb string) frame {
		return frame{kindOpen, id, append([]byte{1}, openMessage(verb, []byte("null"))...)}
	}
	for name, frames := range map[string][]frame{
		"unknown stream":      {{kindData, 7, []byte{0, 1}}},
		"stream used twice":   {open(1, "wait"), open(1, "wait")},
		"older stream":        {open(2, "wait"), open(1, "wait")},
		"no such channel":     {open(1, "wait"), {kindData, 1, []byte{9}}},
		"empty data":          {open(1, "wait"), {kindData, 1, nil}},
		"grant of nothing":    {open(1, "wait"), {kindGrant, 1, []byte{1, 0, 0, 0, 0}}},
		"grant too large":     {open(1, "wait"), {kindGrant, 1, []byte{1, 255, 255, 255, 255}}},
		"window too large":    {open(1, "wait"), grantFrame(1, 1, Window)},
		"more without a part": {open(1, "wait"), {kindMore, 1, []byte{1}}},
		"bad part mark":       {{kindOpen, 1, []byte{7, 'x'}}},
		"opening without NUL": {{kindOpen, 1, []byte{1, 'x'}}},
		"event from client":   {open(1, "wait"), {kindEvent, 1, []byte{1}}},
		"type 0":              {{0, 1, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			var in []byte
			for _, f := range frames {
				in = appendFrame(in, f)
			}
			err := Serve(t.Context(), bytes.NewReader(in), io.Discard, echo)
			if err == nil || errors.Is(err, io.EOF) {
				t.Errorf("Serve took it: %v", err)
			}
		})
	}
	t.Run("more data than granted", func(t *testing.T) {
		in := appendFrame(nil, open(1, "wait"))
		for range Window/maxData + 2 {
			in = appendFrame(in, frame{kindData, 1, make([]byte, MaxPayload)})
		}
		if err := Serve(t.Context(), bytes.NewReader(in), io.Discard, echo); !errors.Is(err, ErrProtocol) {
			t.Errorf("Serve = %v", err)
		}
	})
	t.Run("oversized frame", func(t *testing.T) {
		in := appendFrame(nil, open(1, "wait"))
		in[5], in[6] = 0xff, 0xff
		if err := Serve(t.Context(), bytes.NewReader(in), io.Discard, echo); err == nil {
			t.Error("Serve took a frame of 4 GiB")
		}
	})
}

// FuzzServe feeds a server any bytes: it ends, without panic.
func FuzzServe(f *testing.F) {
	f.Add(appendFrame(nil, frame{kindOpen, 1, append([]byte{1}, openMessage("events", []byte("null"))...)}))
	f.Add(appendFrame(appendFrame(nil, frame{kindOpen, 1, append([]byte{1}, openMessage("echo", []byte("null"))...)}), frame{kindData, 1, []byte{0, 'x'}}))
	f.Fuzz(func(t *testing.T, in []byte) {
		_ = Serve(t.Context(), bytes.NewReader(in), io.Discard, echo)
	})
}

// FuzzClient feeds a client any bytes after the magic.
func FuzzClient(f *testing.F) {
	f.Add(appendFrame(nil, frame{kindEnd, 1, []byte("\x01+1")}))
	f.Add(appendFrame(appendFrame(nil, frame{kindData, 1, []byte("\x01abc")}), frame{kindEvent, 1, []byte("\x01{}")}))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, w := io.Pipe()
		go func() { _, _ = io.WriteString(w, Magic) }()
		c, _, err := NewClient(r, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		call, err := c.Open("x", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = w.Write(in)
			_ = w.Close()
		}()
		_, _ = io.ReadAll(call.Stdout)
		_ = call.Wait(t.Context(), nil)
		<-c.Done()
		r.Close()
	})
}

// TestManyTurns: far more than a window, in pieces of every size, comes out as it
// went in, while readers take pieces of other sizes.
func TestManyTurns(t *testing.T) {
	c := pair(t, echo)
	call, err := c.Open("echo", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	sent, got := sha256.New(), sha256.New()
	go func() {
		defer call.Stdin.Close()
		piece, n := make([]byte, 200<<10), 0
		for i := range 100 {
			for j := range piece {
				piece[j] = byte(i + j*7)
			}
			n = (n*31 + 7919*i) % len(piece)
			sent.Write(piece[:n])
			if _, err := call.Stdin.Write(piece[:n]); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	buf := make([]byte, 77_777)
	for size := 1; ; size = size*3%len(buf) + 1 {
		n, err := call.Stdout.Read(buf[:size])
		got.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := call.Wait(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Error("what came back is not what was sent")
	}
}
