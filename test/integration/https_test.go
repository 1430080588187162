package integration

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/serve"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/https"
	"github.com/bowline-sh/bowline/internal/transport/transporttest"
	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/target"
)

// lent is a host that "bowline serve --host-mode" lends.
type lent struct {
	client *bowline.Client // of the host itself
	addr   *net.TCPAddr
	token  bowline.Token
	file   string // holds its secret
	pin    string
}

func lend(t *testing.T) lent {
	t.Helper()
	return lendAt(t, t.TempDir())
}

func lendAt(t *testing.T, dir string) lent {
	t.Helper()
	c, err := bowline.Open(t.Context(), bowline.Config{ConfigDir: filepath.Join(dir, "config"), StateDir: filepath.Join(dir, "state"), RuntimeDir: dir, Surface: "api"})
	if err != nil {
		t.Fatal(err)
	}
	made, secret, err := c.CreateToken(t.Context(), bowline.TokenRequest{Name: "laptop", Scopes: "host", Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, err := serve.OwnCertificate(filepath.Join(dir, "tls"), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s, err := serve.New(ctx, serve.Config{Client: c, Version: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Secure: true, Host: true})
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l, time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return lent{c, l.Addr().(*net.TCPAddr), made, file, serve.Fingerprint(cert)}
}

func (h lent) target(name string) target.Target {
	return target.Target{Name: name, Kind: target.HTTPS, Host: "127.0.0.1", Port: h.addr.Port, TokenFile: h.file}
}

// openLent returns a client whose target t0 is a host that is lent.
func openLent(t *testing.T) *bowline.Client {
	t.Helper()
	h, c := lend(t), open(t)
	if _, err := c.AddTarget(t.Context(), h.target("t0"), h.pin, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestLentHostIsPinned: neither a certificate that nobody confirmed nor another one gets
// to see the token.
func TestLentHostIsPinned(t *testing.T) {
	h, other, c := lend(t), lend(t), open(t)
	if _, err := c.AddTarget(t.Context(), h.target("t0"), "", nil); diag.KindOf(err) != diag.Untrusted || !strings.Contains(diag.HintOf(err), h.pin) {
		t.Errorf("Add of an unknown certificate = %v", err)
	}
	if _, err := c.AddTarget(t.Context(), h.target("t0"), other.pin, nil); diag.KindOf(err) != diag.Untrusted {
		t.Errorf("Add with another's fingerprint = %v", err)
	}
	if _, err := c.AddTarget(t.Context(), h.target("t0"), h.pin, nil); err != nil {
		t.Fatal(err)
	}
	moved := other.target("t1")
	moved.Fingerprint = h.pin // somebody else answers at the address
	if _, err := c.AddTarget(t.Context(), moved, "", nil); diag.KindOf(err) != diag.Untrusted || !strings.Contains(err.Error(), "CHANGED") {
		t.Errorf("Add of a changed certificate = %v", err)
	}
}

// TestLentHostWantsItsToken: a revoked token ends also what is open.
func TestLentHostWantsItsToken(t *testing.T) {
	h, c := lend(t), open(t)
	if _, err := c.AddTarget(t.Context(), h.target("t0"), h.pin, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(t.Context(), sh("t0", "true")); diag.KindOf(err) != diag.Denied {
		t.Errorf("Run with a token that others read = %v", err)
	}
	if err := os.Chmod(h.file, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		req := sh("t0", "echo begun; sleep 300")
		req.Timeout = 400 * time.Second
		_, err := c.Run(t.Context(), req)
		ended <- err
	}()
	for {
		var begun bool
		for e, err := range h.client.Audit(t.Context(), bowline.AuditQuery{Verb: "host.link"}) {
			begun = begun || err == nil && e.User != ""
		}
		if begun {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := h.client.RevokeToken(t.Context(), h.token.ID); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if k := diag.KindOf(err); k != diag.Lost && k != diag.Denied {
			t.Errorf("what was open ended with %v", err)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("a link outlived its token")
	}
	if _, err := c.Run(t.Context(), sh("t0", "true")); diag.KindOf(err) != diag.Denied {
		t.Errorf("Run with a revoked token = %v", err)
	}
}

// TestLentHostDoesTheCircle: plan, approve, apply, roll back, and copies both ways.
func TestLentHostDoesTheCircle(t *testing.T) {
	c := openLent(t)
	dir := "/srv/bowline-lent-test"
	if os.Geteuid() != 0 {
		dir = filepath.Join(os.Getenv("HOME"), "bowline-lent-test")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "made")
	s, err := c.Plan(t.Context(), bowline.PlanRequest{Target: "t0", Script: []byte("#!/bin/sh\necho hello > " + file + "\n")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil || len(s.Plan.Ops) != 1 {
		t.Fatalf("planned %d operations; the file: %v", len(s.Plan.Ops), err)
	}
	if _, err := c.Approve(t.Context(), s.ID, s.Digest); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Apply(t.Context(), s.ID, bowline.ApplyOptions{}); err != nil || r.Status != plan.Executed {
		t.Fatalf("%+v, %v", r, err)
	}
	got := filepath.Join(t.TempDir(), "got")
	if r, err := c.Copy(t.Context(), bowline.CopyRequest{Sources: []bowline.CopyLocation{{Target: "t0", Path: file}}, Dest: bowline.CopyLocation{Path: got}}); err != nil || r.Files[0].Status != "verified" {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := c.Copy(t.Context(), bowline.CopyRequest{Sources: []bowline.CopyLocation{{Path: got}}, Dest: bowline.CopyLocation{Target: "t0", Path: file + "2"}}); err != nil || r.Files[0].Status != "verified" {
		t.Fatalf("%+v, %v", r, err)
	}
	if text, err := os.ReadFile(file + "2"); err != nil || string(text) != "hello\n" {
		t.Errorf("%q, %v", text, err)
	}
	if r, err := c.Rollback(t.Context(), s.ID, bowline.ApplyOptions{}); err != nil || r.Status != plan.RolledBack {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the rollback left the file")
	}
}

// TestLentHostKeepsTheContract: the transport passes the suite that ssh and local pass.
func TestLentHostKeepsTheContract(t *testing.T) {
	h := lend(t)
	tg := h.target("t0")
	tg.Fingerprint = h.pin
	transporttest.Run(t, func(t *testing.T) transport.Conn {
		c, err := https.Dialer{}.Dial(t.Context(), tg)
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}
