package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/api"
	"github.com/bowline-sh/bowline/internal/login"
)

// Of the link to this machine; see package transport/https for its other end.
const (
	hostPath     = "/host/v1/link"
	hostProtocol = "bowline-link/1"
)

// lend gives this machine to who holds a token for it.
func (s *Server) lend(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != hostProtocol {
		api.WriteProblem(w, r, diag.New(diag.Usage, "lend host", "use a target of kind https", "the request does not ask for %s", hostProtocol))
		return
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		api.WriteProblem(w, r, diag.New(diag.Usage, "lend host", "use HTTP/1.1", "%w", err))
		return
	}
	defer conn.Close()
	if err := s.lendOver(r, conn, buf); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		s.cfg.Logger.Info("link to this host ended", "token", login.From(r.Context()).Name, "err", err)
	}
}

func (s *Server) lendOver(r *http.Request, conn net.Conn, buf *bufio.ReadWriter) error {
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nBowline-Login: %s\r\nServer: bowline\r\n\r\n", hostProtocol, s.cfg.Client.Login()); err != nil {
		return err
	}
	ctx := r.Context() // of a hijacked request: it ends with the server, and with its token
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	return s.cfg.Client.LendHost(ctx, struct {
		io.Reader
		io.Writer
	}{buf, conn})
}
