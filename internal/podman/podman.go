// Package podman speaks to the API of Podman on a target, over a link: host keys,
// ssh-agent, jump hosts and audit are those of the link, and there is no second way to
// a server. It knows containers and volumes, not boxes.
//
// # Where the API is
//
// The socket of the account (rootless) or of the system (rootful), as in
// podman-system-service(1). Where neither answers, [Open] starts "podman system
// service" for as long as the link lives; it ends with its session. On a link that is kept
// by the background process it stays for the next invocation.
//
// # Errors
//
// Errors are *diag.Error: unreachable if there is no Podman to speak to, refused if it
// is too old or the account may not use it. What an API call left undone is said there.
package podman

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/transport"
)

// minMajor is the oldest version of Podman that is supported. 4.0 brought netavark and
// the API that boxes use.
const minMajor = 4

// Link is what Podman is reached through.
type Link interface {
	transport.Conn
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
	Keep(ctx context.Context, line string, only bool) (first string, ok bool, err error)
}

// Podman is the API of one target. Methods may be called concurrently. It must be
// closed; the link stays.
type Podman struct {
	api     *client.Client
	service transport.Process // nil unless it was started by Open and ends with it
	Socket  string            // path on the target
	Version string            // of Podman; hostile text
	// Rootless reports that Podman runs as the account, which is not root.
	Rootless bool
}

// Open finds the socket of Podman, or starts its service.
func Open(ctx context.Context, l Link) (*Podman, error) {
	if p, err := known(ctx, l); p != nil || err != nil {
		return p, err
	}
	where, err := look(ctx, l)
	if err != nil {
		return nil, err
	}
	for _, socket := range where.sockets {
		if p, err := connect(ctx, l, socket); err == nil || diag.KindOf(err) == diag.Refused {
			return p, err
		}
	}
	return start(ctx, l, where)
}

// systemSocket is that of the system's Podman, which root uses first.
const systemSocket = "/run/podman/podman.sock"

// known connects to what can be found without asking the target: the system's socket for
// root, or the service that another invocation left with the link. nil: there is none.
func known(ctx context.Context, l Link) (*Podman, error) {
	first, _, err := l.Keep(ctx, serviceLine, true)
	_, socket, ok := strings.Cut(first, announce)
	if err != nil || !ok {
		socket = systemSocket
	}
	if !ok && l.Info().Login != "root" {
		return nil, nil
	}
	p, err := connect(ctx, l, socket)
	if err != nil && diag.KindOf(err) != diag.Refused {
		return nil, nil // it is looked for from the beginning
	}
	return p, err
}

// place is what a target says of itself.
type place struct {
	sockets []string // candidates, the account's own first
	temp    string   // directory for a socket of our own
	podman  bool     // there is a program
}

// lookText asks for what [Open] needs to know. Every login shell reads it alike.
const lookText = `exec /bin/sh -c 'u=$(id -u); r=${XDG_RUNTIME_DIR:-/run/user/$u}; command -v podman >/dev/null 2>&1 && p=yes || p=no; [ -d "$r" ] && [ -w "$r" ] || r=/tmp; echo "BOWLINE-$u $p $r"'`

func look(ctx context.Context, l Link) (place, error) {
	out, err := output(ctx, l, lookText)
	if err != nil {
		return place{}, diag.New(diag.Unreachable, "look for Podman", "", "%w", err)
	}
	_, rest, _ := strings.Cut(out, "BOWLINE-")
	words := strings.SplitN(strings.TrimSpace(rest), " ", 3)
	if len(words) != 3 {
		return place{}, diag.New(diag.Unreachable, "look for Podman", "see what a login prints: 'ssh HOST true'", "the target gave no answer that can be read")
	}
	w := place{temp: words[2], podman: words[1] == "yes"}
	if words[0] != "0" {
		w.sockets = append(w.sockets, "/run/user/"+words[0]+"/podman/podman.sock")
	}
	w.sockets = append(w.sockets, systemSocket)
	return w, nil
}

// output runs a fixed line and returns the first KiB that it prints.
func output(ctx context.Context, l transport.Conn, line string) (string, error) {
	proc, err := l.Start(ctx, line)
	if err != nil {
		return "", err
	}
	defer proc.Close()
	defer context.AfterFunc(ctx, func() { _ = proc.Close() })()
	_ = proc.Stdin().Close() // it reads nothing
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	b, err := io.ReadAll(io.LimitReader(proc.Stdout(), 1<<10))
	return string(b), err
}

// connect asks the API at socket who it is. It asks /_ping, whose answer has the versions in
// its header: /version takes Podman 4.3 half a second.
func connect(ctx context.Context, l Link, socket string) (*Podman, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx, "unix", socket) }
	of, err := ping(ctx, dial)
	if err != nil {
		return nil, err
	}
	major, _, _ := strings.Cut(of.podman, ".")
	if n, err := strconv.Atoi(major); err != nil || n < minMajor {
		return nil, diag.New(diag.Refused, "speak to Podman", "install Podman 4 or newer on the target", "it has version %q", of.podman)
	}
	api, err := client.New(client.WithHost("http://podman"), client.WithAPIVersion(of.api), client.WithDialContext(dial))
	if err != nil {
		return nil, err
	}
	return &Podman{api: api, Socket: socket, Version: of.podman, Rootless: l.Info().Login != "root" && socket != systemSocket}, nil
}

// versions are those of Podman and of the API that it offers to clients of Docker's.
type versions struct{ podman, api string }

func ping(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error)) (versions, error) {
	transport := &http.Transport{DialContext: dial}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://podman/_ping", nil)
	if err != nil {
		return versions{}, err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return versions{}, err
	}
	v := versions{res.Header.Get("Libpod-Api-Version"), res.Header.Get("Api-Version")}
	return v, res.Body.Close()
}

// startFor is how long the service may take to listen.
const startFor = 15 * time.Second

// start runs the service over the link. It ends when the session does: podman ends at
// the hang-up of its standard streams' session.
func start(ctx context.Context, l Link, w place) (*Podman, error) {
	if !w.podman {
		return nil, diag.New(diag.Unreachable, "speak to Podman", "install it on the target, see 'bowline box setup'",
			"no socket answers (%s) and there is no program podman", strings.Join(w.sockets, ", "))
	}
	proc, socket, err := service(ctx, l)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startFor)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		p, err := connect(ctx, l, socket)
		if err == nil {
			p.service = proc
			return p, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(diag.New(diag.Unreachable, "start Podman's service", "look at it there: 'podman system service --time 0 unix:///tmp/p.sock'", "it does not answer: %w", err), closeService(proc))
		case <-time.After(wait):
		}
	}
}

// service starts the service with the link, or as long as the link is kept, when proc is nil.
func service(ctx context.Context, l Link) (proc transport.Process, socket string, err error) {
	first, ok, err := l.Keep(ctx, serviceLine, false)
	if !ok && err == nil {
		proc, err = l.Start(ctx, serviceLine)
	}
	if err != nil {
		return nil, "", diag.New(diag.Unreachable, "start Podman's service", "", "%w", err)
	}
	if ok {
		socket, err = socketOf(first)
		return nil, socket, err
	}
	if socket, err = announced(ctx, proc); err != nil {
		return nil, "", errors.Join(err, proc.Close())
	}
	return proc, socket, nil
}

func closeService(proc transport.Process) error {
	if proc == nil {
		return nil
	}
	return errors.Join(proc.Stdin().Close(), proc.Close())
}

// announce stands before the path of the socket in what serviceLine prints.
const announce = "BOWLINE-"

func socketOf(line string) (string, error) {
	_, socket, ok := strings.Cut(line, announce)
	if !ok || !strings.HasPrefix(socket, "/") {
		return "", diag.New(diag.Unreachable, "start Podman's service", "", "the target answered %q", line)
	}
	return socket, nil
}

// serviceLine starts the service at a socket in a private directory, says where, and
// ends it when its standard input does.
const serviceLine = `exec /bin/sh -c 'r=${XDG_RUNTIME_DIR:-/tmp}; [ -w "$r" ] || r=/tmp; d=$(mktemp -d "$r/bowline-podman-XXXXXXXX") || exit 1; podman system service --time 0 "unix://$d/s" >&2 & p=$!; trap "kill $p 2>/dev/null; wait $p; rm -rf $d" EXIT; echo "BOWLINE-$d/s"; cat >/dev/null'`

// announced reads where the service will listen.
func announced(ctx context.Context, proc transport.Process) (string, error) {
	defer context.AfterFunc(ctx, func() { _ = proc.Close() })()
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	var line []byte
	for b := make([]byte, 1); len(line) < 1<<10; {
		if _, err := proc.Stdout().Read(b); err != nil {
			return "", diag.New(diag.Unreachable, "start Podman's service", "", "the target said nothing: %w", err)
		}
		if b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	return socketOf(string(line))
}

// Close ends a service that Open started, unless it stays with a link that is kept.
func (p *Podman) Close() error {
	return errors.Join(p.api.Close(), closeService(p.service))
}

// API is the client of the Docker-compatible API.
func (p *Podman) API() *client.Client { return p.api }

// String names the API for errors.
func (p *Podman) String() string { return fmt.Sprintf("Podman %s at %s", p.Version, p.Socket) }
