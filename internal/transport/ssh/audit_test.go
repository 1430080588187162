//go:build unix

package ssh

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// notYetKnown are the warnings of ssh-audit 2.5.0 that only say how old it is:
// it was written before ML-KEM and strict key exchange.
func notYetKnown(line string) bool {
	if !strings.HasSuffix(strings.TrimSpace(line), "-- [warn] unknown algorithm") {
		return false
	}
	return strings.HasPrefix(line, "(kex) mlkem768x25519-sha256 ") || strings.HasPrefix(line, "(kex) kex-strict-c-v00@openssh.com ")
}

func TestSSHAuditFindsNothing(t *testing.T) {
	ca := testkit.NewCA(t)
	for name, lines := range map[string]func(address string) []string{
		"UnknownHost": func(string) []string { return nil },
		"Certified":   func(string) []string { return []string{ca.KnownHostsLine("*")} },
		"PinnedRSA": func(address string) []string {
			return []string{knownhosts.Line([]string{address}, testkit.NewKey(t, filepath.Join(t.TempDir(), "k"), "rsa"))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			port := testkit.FreePort(t, "127.0.0.1")
			cfg := isolated(t, lines(fmt.Sprintf("127.0.0.1:%d", port))...)
			cfg.Attempts = 1000 // until it listens
			report := audit(t, port, cfg)
			for line := range strings.Lines(report) {
				bad := strings.Contains(line, "[fail]") || strings.Contains(line, "[warn]")
				if bad && !notYetKnown(line) {
					t.Errorf("%s", strings.TrimSpace(line))
				}
			}
			for _, section := range []string{"(kex) curve25519-sha256 ", "(key) ssh-ed25519 ", "(enc) aes128-gcm", "(mac) hmac-sha2-256-etm"} {
				if !strings.Contains(report, section) {
					t.Errorf("no %q in the report; did it see our client?\n%s", section, report)
				}
			}
		})
	}
}

// audit runs ssh-audit as a server on port, lets a Dialer meet it, and returns
// its report.
func audit(t *testing.T, port int, cfg Config) string {
	t.Helper()
	var report bytes.Buffer
	cmd := exec.CommandContext(t.Context(), testkit.Tool(t, "ssh-audit"), "-n", "-c", "-p", fmt.Sprint(port), "-t", "30")
	cmd.Stdout, cmd.Stderr = &report, &report
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var dial sync.WaitGroup
	dial.Go(func() {
		_, _ = New(cfg).Dial(ctx, hostTarget("127.0.0.1", port)) // the auditor hangs up
	})
	_ = cmd.Wait() // its status counts the ratings, which the caller reads
	cancel()
	dial.Wait()
	return report.String()
}

func TestAlgorithmsAreAnAllowList(t *testing.T) {
	insecure := ssh.InsecureAlgorithms()
	banned := append(append(append(insecure.KeyExchanges, insecure.Ciphers...), insecure.MACs...), insecure.HostKeys...)
	ours := append(append(append(keyExchanges(), ciphers()...), macs()...), hostKeyAlgorithms(nil, true)...)
	for _, a := range ours {
		for _, b := range append(banned, "hmac-sha1", ssh.KeyAlgoRSA, ssh.CertAlgoRSAv01) {
			if a == b {
				t.Errorf("%s is offered", a)
			}
		}
		if strings.Contains(a, "cbc") || strings.Contains(a, "sha1") || strings.Contains(a, "nistp") || strings.Contains(a, "dss") {
			t.Errorf("%s is offered", a)
		}
	}
}
