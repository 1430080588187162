package mcp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
)

// TestSlowBody: who sends a body slowly, or never, keeps no connection, whether or not
// they are let in; an answer that takes longer than a body may is not cut.
func TestSlowBody(t *testing.T) {
	const limit = 100 * time.Millisecond
	srv := httptest.NewServer(timely(limit, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusRequestTimeout)
			return
		}
		select {
		case <-r.Context().Done():
			w.WriteHeader(http.StatusInternalServerError)
		case <-time.After(5 * limit): // a long answer
			fmt.Fprint(w, "done")
		}
	})))
	defer srv.Close()
	for head, want := range map[string]string{"": "401", "Authorization: x\r\n": "408"} {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: 100\r\n\r\nx", head)
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(bufio.NewReader(c)) // ends when the server closes
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 "+want) {
			t.Errorf("with %q: %v, %.40q", head, err, got)
		}
	}
	req, _ := http.NewRequest(http.MethodPost, srv.URL, strings.NewReader("body"))
	req.Header.Set("Authorization", "x")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "done" {
		t.Errorf("a long answer: %q, %v", b, err)
	}
}

// TestSameness: what is cut for a model counts for whether results are equal.
func TestSameness(t *testing.T) {
	text := func(middle string) bowline.RunResult {
		return bowline.RunResult{Stdout: []byte(strings.Repeat("a\n", headBytes) + middle + strings.Repeat("b\n", tailBytes))}
	}
	a, b := text("one\n"), text("two\n")
	cutA, _ := ends(string(a.Stdout))
	cutB, _ := ends(string(b.Stdout))
	if cutA != cutB {
		t.Fatal("the texts differ where they are shown")
	}
	if sameness(a, resultOut{}) == sameness(b, resultOut{}) || sameness(a, resultOut{}) != sameness(text("one\n"), resultOut{Seconds: 2}) {
		t.Error("results are folded by what is shown of them")
	}
}

// TestKeptIsBounded: outputs are forgotten by what they take together, the oldest first,
// and never one that still comes.
func TestKeptIsBounded(t *testing.T) {
	s := newOutputs()
	running := s.add("a", "web1", "runs")
	var last *output
	for range maxKept {
		last = s.add("a", "web1", "big")
		_, _ = last.Write(make([]byte, maxKeptSize+1)) // it never fails
		last.end("exit code 0", false)
		last.page(0, func([]byte) string { return strings.Repeat("x", 4*maxKeptSize) }) // control characters take four
	}
	kept := 0
	for _, o := range s.of("a") {
		kept += o.size()
	}
	if kept > maxKeptAll+4*maxKeptSize {
		t.Errorf("%d bytes are kept", kept)
	}
	for _, o := range []*output{running, last} {
		if _, err := s.get("a", o.id); err != nil {
			t.Error(err)
		}
	}
	if got := last.page(-3, nil); got.Text != "xxx" {
		t.Errorf("a page of what was read before: %q", got.Text)
	}
}
