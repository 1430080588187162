package mcp

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// stateless is the first revision of the protocol that has no sessions.
const stateless = "2026-07-28"

// maxBody bounds a request, in bytes: a script of maxText in JSON, with its escapes.
const maxBody = 8 << 20

// idleSession is after how long a session of an older revision is forgotten.
const idleSession = 30 * time.Minute

// Handler serves both kinds of revision at one place, to who holds the token. A token
// of its own is an identity; the name that a client gives itself is not.
func (s *Server) Handler(token string) http.Handler {
	return timely(bodyTime, http.NewCrossOriginProtection().Handler(auth.RequireBearerToken(verifier(token), nil)(s.Open())))
}

// Open is Handler for whoever reaches it: who they are was checked before.
func (s *Server) Open() http.Handler {
	get := func(*http.Request) *mcp.Server { return s.mcp }
	old := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{MaxRequestBodyBytes: maxBody, SessionTimeout: idleSession, Logger: s.cfg.Logger})
	now := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{MaxRequestBodyBytes: maxBody, Stateless: true, PropagateRequestCancellation: true, Logger: s.cfg.Logger})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") >= stateless {
			now.ServeHTTP(w, r)
			return
		}
		old.ServeHTTP(w, r)
	})
}

// bodyTime is how long a body may take to arrive.
const bodyTime = 30 * time.Second

// timely gives up on who sends a body slowly, also on who has no token: the server reads
// what is left of it for them. A body that has arrived ends no answer, which may go on.
func timely(limit time.Duration, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := http.NewResponseController(w)
		if r.ContentLength != 0 && conn.SetReadDeadline(time.Now().Add(limit)) == nil {
			r.Body = &arriving{ReadCloser: r.Body, arrived: func() { _ = conn.SetReadDeadline(time.Time{}) }}
		}
		h.ServeHTTP(w, r)
	})
}

// arriving calls arrived when all of a body was read.
type arriving struct {
	io.ReadCloser
	arrived func()
}

func (b *arriving) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.arrived()
	}
	return n, err
}

// verifier compares digests, so that time tells nothing about the token.
func verifier(token string) auth.TokenVerifier {
	want := sha256.Sum256([]byte(token))
	return func(_ context.Context, given string, _ *http.Request) (*auth.TokenInfo, error) {
		got := sha256.Sum256([]byte(given))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			return nil, auth.ErrInvalidToken
		}
		return &auth.TokenInfo{Expiration: time.Now().Add(time.Hour)}, nil
	}
}
