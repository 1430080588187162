// Package https is the transport to a host that runs "bowline serve --host-mode", for
// hosts without sshd. It is one TLS connection, upgraded as RFC 9110, section 7.8, says,
// on which package framed carries processes; everything above (sandbox, helper, plan,
// apply, copies) is as over SSH.
//
// # Identity
//
// The certificate is pinned by its fingerprint; no authority is asked, and no name is
// compared. A target without a pin, or with another certificate, is refused, kind
// Untrusted, before a token is sent. The token is read from a file that others cannot
// read.
package https

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/framed"
	"github.com/bowline-sh/bowline/target"
)

// Path is where a host lends itself, and Protocol what the connection is upgraded to.
const (
	Path     = "/host/v1/link"
	Protocol = "bowline-link/1"
)

// HeaderLogin is the header of the answer that names the account on the host.
const HeaderLogin = "Bowline-Login"

// DefaultPort is that of "bowline serve".
const DefaultPort = 7440

// Dialer opens connections. Timeout bounds connecting and handshakes; 0 means 15 s.
type Dialer struct{ Timeout time.Duration }

func address(t target.Target) string {
	return net.JoinHostPort(t.Host, strconv.Itoa(cmp.Or(t.Port, DefaultPort)))
}

// Fingerprint names a certificate: "SHA256:" and the digest of its DER form in base64,
// without padding.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// Scan returns the fingerprint of the certificate that the host of t shows. Nothing is
// sent to it.
func (d Dialer) Scan(ctx context.Context, t target.Target) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(d.Timeout, 15*time.Second))
	defer cancel()
	c, found, err := d.secure(ctx, t, func(string) error { return nil })
	if err != nil {
		return "", unreachable(t, err)
	}
	return found, c.Close()
}

func unreachable(t target.Target, err error) error {
	if _, ok := errors.AsType[*diag.Error](err); ok {
		return err
	}
	return diag.New(diag.Unreachable, "connect to "+t.Name, "see that 'bowline serve --host-mode' runs there: 'curl -k https://"+address(t)+"/healthz'", "%w", err)
}

// secure connects and makes the handshake; check decides about the certificate before
// anything is sent inside.
func (d Dialer) secure(ctx context.Context, t target.Target, check func(fingerprint string) error) (*tls.Conn, string, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address(t))
	if err != nil {
		return nil, "", err
	}
	found := ""
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, ServerName: t.Host,
		InsecureSkipVerify: true, // the certificate is pinned instead, in VerifyConnection
		VerifyConnection: func(s tls.ConnectionState) error {
			found = Fingerprint(s.PeerCertificates[0].Raw)
			return check(found)
		},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, found, errors.Join(err, conn.Close())
	}
	return conn, found, nil
}

// Dial returns a connection to t. Errors are *diag.Error: Unreachable, Untrusted for the
// certificate, Denied for the token.
func (d Dialer) Dial(ctx context.Context, t target.Target) (transport.Conn, error) {
	began := time.Now()
	token, err := readToken(t)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(d.Timeout, 15*time.Second))
	defer cancel()
	var refused error
	conn, found, err := d.secure(ctx, t, func(found string) error {
		refused = pinned(t, found)
		return refused
	})
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, unreachable(t, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	c, err := upgrade(conn, t, token, func(r *http.Response) transport.Info {
		return transport.Info{Address: address(t), HostKeyType: "x509", Fingerprint: found, Login: r.Header.Get(HeaderLogin), Server: r.Header.Get("Server"), DialTime: time.Since(began)}
	})
	if !stop() && err == nil {
		err = unreachable(t, context.Cause(ctx))
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// pinned reports whether the certificate is the one of t.
func pinned(t target.Target, found string) error {
	op := "check certificate of " + t.Name
	switch t.Fingerprint {
	case found:
		return nil
	case "":
		return diag.New(diag.Untrusted, op, "compare it with what 'bowline serve' said when it started there, then 'bowline target trust "+t.Name+" --fingerprint "+found+"'",
			"no certificate is pinned; the host shows %s; nothing was sent", found)
	}
	return diag.New(diag.Untrusted, op, "if the administrator confirms the new one: 'bowline target trust "+t.Name+" --fingerprint "+found+"'",
		"THE CERTIFICATE HAS CHANGED: the host shows %s, pinned is %s; nothing was sent", found, t.Fingerprint)
}

// readToken reads the token's file, which nobody else may read.
func readToken(t target.Target) (string, error) {
	op := "read token of " + t.Name
	if t.TokenFile == "" {
		return "", diag.New(diag.Usage, op, "put what 'bowline token create --name NAME --scope host' printed there into a file, and name it as token_file", "the target has no token_file")
	}
	f, err := os.Open(t.TokenFile)
	if err != nil {
		return "", diag.New(diag.Usage, op, "", "%w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", diag.New(diag.Usage, op, "", "%w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", diag.New(diag.Denied, op, "'chmod 600 "+t.TokenFile+"', and put a new token in it", "others can read %s", t.TokenFile)
	}
	text, err := io.ReadAll(io.LimitReader(f, 4<<10))
	token := strings.TrimSpace(string(text))
	if err != nil || token == "" || strings.ContainsAny(token, " \r\n") {
		return "", diag.New(diag.Usage, op, "it holds one token and nothing else", "%s holds no token", t.TokenFile)
	}
	return token, nil
}

// maxAnswer bounds what a host says before it lends itself, in bytes.
const maxAnswer = 128 << 10

// upgrade asks the host to lend itself.
func upgrade(conn *tls.Conn, t target.Target, token string, info func(*http.Response) transport.Info) (transport.Conn, error) {
	req := http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: address(t), Path: Path}, Host: address(t), Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {Protocol}, "Authorization": {"Bearer " + token},
	}}
	if err := req.Write(conn); err != nil {
		return nil, unreachable(t, err)
	}
	bounded := &io.LimitedReader{R: conn, N: maxAnswer}
	r := bufio.NewReaderSize(bounded, 128<<10)
	resp, err := http.ReadResponse(r, &req)
	if err != nil {
		return nil, unreachable(t, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != Protocol {
		return nil, refusal(t, resp)
	}
	bounded.N = math.MaxInt64 // frames have bounds of their own
	c, err := framed.NewConn(r, conn, info(resp))
	if err != nil {
		return nil, unreachable(t, err)
	}
	return c, nil
}

// refusal is the error of a host that did not lend itself.
func refusal(t target.Target, resp *http.Response) error {
	var p struct{ Detail string }
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil {
		_ = json.Unmarshal(body, &p) // what is no JSON has no detail
	}
	why := fmt.Sprintf("%s %.200q", resp.Status, p.Detail)
	op := "connect to " + t.Name
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return diag.New(diag.Denied, op, "have a token made there with 'bowline token create --name NAME --scope host', and put it in "+t.TokenFile, "the host refuses the token: %s", why)
	case http.StatusNotFound:
		return diag.New(diag.Unreachable, op, "start it there with 'bowline serve --host-mode'", "the server there does not lend its host")
	}
	return diag.New(diag.Unreachable, op, "", "the server there answers %s", why)
}
