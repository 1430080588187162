// Package agentless is package transfer's view of a target over SFTP, for targets
// that hold no helper. Content is written with many requests under way, and its
// digest is computed by a program of the target over the same link (sha256sum,
// shasum or openssl), or by reading back.
//
// What it cannot do: lock a temporary, sync a directory, reuse an older version,
// or be sure that nobody swaps a directory for a link between looking and acting.
// SFTP (draft-ietf-secsh-filexfer-02) has names, not handles, for directories.
package agentless

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/pkg/sftp"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/transfer"
	"github.com/bowline-sh/bowline/internal/transport"
)

// Conn is what Open needs of a link.
type Conn interface {
	transport.Conn
	transport.Subsystems
}

// Place is a target over SFTP. Methods may be called concurrently.
type Place struct {
	client *sftp.Client
	proc   transport.Process
	home   string
	rules  transfer.Policy
	conn   Conn

	mu  sync.Mutex // held while the digest program is asked
	sum *summer    // nil before it is needed
}

// requests is how many requests of one file are under way: with packets of 32 KiB
// they fill the 2 MiB window of an SSH channel.
const requests = 64

// Open starts SFTP on conn. The Place must be closed; ctx ends with it.
func Open(ctx context.Context, conn Conn, rules transfer.Policy) (*Place, error) {
	const op = "start SFTP"
	proc, err := conn.Subsystem(ctx, "sftp")
	if err != nil {
		return nil, diag.New(diag.Sandbox, op, "enable 'Subsystem sftp internal-sftp' in sshd_config on the target, or allow the helper", "%w", err)
	}
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	stop := context.AfterFunc(ctx, func() { _ = proc.Close() })
	c, err := sftp.NewClientPipe(proc.Stdout(), proc.Stdin(), sftp.UseConcurrentWrites(true), sftp.MaxConcurrentRequestsPerFile(requests))
	if err == nil {
		p := &Place{client: c, proc: proc, rules: rules, conn: conn}
		if p.home, err = c.RealPath("."); err == nil {
			stop()
			return p, nil
		}
	}
	stop()
	return nil, errors.Join(diag.New(diag.Sandbox, op, "", "the target does not talk SFTP: %w", err), proc.Close())
}

// Close ends SFTP.
func (p *Place) Close() error {
	p.mu.Lock()
	if p.sum != nil {
		p.sum.close()
	}
	p.mu.Unlock()
	_ = p.client.Close() // the stream is closed next, whatever it says
	return p.proc.Close()
}

// Abort makes everything under way fail, as when a person stops it.
func (p *Place) Abort() { _ = p.proc.Close() }

// Policy is what Open of a Place allows.
func (p *Place) Policy() transfer.Policy { return p.rules }

// Abs is described at transfer.Place.
func (p *Place) Abs(name string) (string, error) { return transfer.AbsAt(p.home, name) }

// Canonical is described at transfer.Place. OpenSSH resolves what does not exist,
// too; so it is looked for.
func (p *Place) Canonical(name string) (string, error) {
	abs, err := p.Abs(name)
	if err != nil {
		return "", err
	}
	if _, err := p.client.Stat(abs); err != nil {
		return "", fmt.Errorf("%q: %w", name, err)
	}
	return p.client.RealPath(abs)
}

// Open is described at transfer.Place.
func (p *Place) Open(dir string) (transfer.FS, error) {
	real, err := p.client.RealPath(dir)
	if err == nil {
		err = p.rules.Check(real)
	}
	if err != nil {
		return nil, err
	}
	if fi, err := p.client.Lstat(real); err != nil || !fi.IsDir() {
		return nil, errors.Join(fmt.Errorf("%q is no directory", dir), err)
	}
	return &tree{p: p, base: real, dirs: map[string]bool{".": true}}, nil
}

// ReadFile returns a small file of the target.
func (p *Place) ReadFile(name string) ([]byte, error) {
	f, err := p.client.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 16<<20))
}

// Frozen refuses work on a target that is frozen, or of which that cannot be known.
func (p *Place) Frozen() error {
	info, err := p.client.Lstat(freeze.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f := freeze.Freeze{Reason: "whether it is cannot be seen over SFTP"}
	if err == nil && info.Mode().IsRegular() {
		if b, err := p.ReadFile(freeze.File); err == nil {
			f = freeze.Parse(b)
		}
	}
	return f.Here()
}

func join(base, p string) string {
	if p == "." {
		return base
	}
	return strings.TrimSuffix(base, "/") + "/" + p
}
