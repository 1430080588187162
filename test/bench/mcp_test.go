package bench

import (
	"os/exec"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// agent starts 'bowline mcp serve' and a client of it, to where it answered.
func (w *world) agent(b *testing.B) *mcp.ClientSession {
	cmd := exec.Command("../../bin/bowline", "mcp", "serve", "--target", "web1")
	cmd.Env = w.env
	c := mcp.NewClient(&mcp.Implementation{Name: "bench", Version: "1"}, nil)
	s, err := c.Connect(b.Context(), &mcp.CommandTransport{Command: cmd}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func callRun(b *testing.B, s *mcp.ClientSession) {
	res, err := s.CallTool(b.Context(), &mcp.CallToolParams{Name: "run", Arguments: map[string]any{"target": "web1", "argv": argv}})
	if err != nil || res.IsError {
		b.Fatalf("%+v, %v", res, err)
	}
}

// BenchmarkMCPStart: from nothing to the answer to initialize, against "ssh -V".
func BenchmarkMCPStart(b *testing.B) {
	w := newWorld(b)
	compare(b, func() {
		if err := w.agent(b).Close(); err != nil {
			b.Fatal(err)
		}
	}, func() { mustRun(b, exec.Command("ssh", "-V")) })
}

// BenchmarkMCPRun: the tool "run" over stdio, against the same command through the Go
// API, both on warm links with helpers.
func BenchmarkMCPRun(b *testing.B) {
	w := newWorld(b)
	w.placeHelper(b)
	s := w.agent(b)
	b.Cleanup(func() { _ = s.Close() }) // the measurement is over
	for range 5 {                       // until it uses the helper
		callRun(b, s)
	}
	compare(b, func() { callRun(b, s) }, func() { w.ours(b) })
}
