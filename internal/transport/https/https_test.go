package https

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

// TestEndlessAnswer: a host that lies about itself without end is given up on before it
// fills the memory of the client.
func TestEndlessAnswer(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	cert := s.TLS.Certificates[0]
	s.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, err = c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n"))
		line := append(append([]byte("X: "), bytes.Repeat([]byte("x"), 16<<10)...), "\r\n"...)
		for err == nil && sent.Load() < 256<<20 {
			var n int
			n, err = c.Write(line)
			sent.Add(int64(n))
		}
	}()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("bwl_aaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr)
	_, err = Dialer{Timeout: 10 * time.Second}.Dial(t.Context(), target.Target{Name: "t0", Kind: target.HTTPS, Host: "127.0.0.1", Port: at.Port, Fingerprint: Fingerprint(cert.Certificate[0]), TokenFile: token})
	if diag.KindOf(err) != diag.Unreachable {
		t.Errorf("%v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	<-done
	if n := sent.Load(); n == 0 || n > 16<<20 { // what lies in sockets' buffers besides
		t.Errorf("it could send %d bytes", n)
	}
}
