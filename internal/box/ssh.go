package box

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
)

// HostKey is the SSH host key of one box, made for it and pinned before anybody
// connects: no box can pose as another.
type HostKey struct {
	Public  string // as in known_hosts: type and base64
	private []byte // PEM, as sshd reads it
}

// newHostKey makes an ed25519 key.
func newHostKey(name string) (HostKey, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return HostKey{}, err
	}
	block, err := ssh.MarshalPrivateKey(key, containerName(name))
	if err != nil {
		return HostKey{}, err
	}
	public, err := ssh.NewPublicKey(pub)
	if err != nil {
		return HostKey{}, err
	}
	return HostKey{Public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))), private: pem.EncodeToMemory(block)}, nil
}

// sshdText puts the host key, which comes through standard input, and the configuration
// of sshd in place. Its argument is the account that may log in. PAM is left out: images
// have what they have, and sshd then needs no session of theirs.
const sshdText = `set -eu
umask 077
mkdir -p /etc/bowline /run/sshd
cat >/etc/bowline/host_key
umask 022
cat >/etc/bowline/sshd_config <<END
HostKey /etc/bowline/host_key
AuthorizedKeysFile .ssh/authorized_keys
AllowUsers $1
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PidFile none
ClientAliveInterval 60
ClientAliveCountMax 3
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
END
chmod 755 /run/sshd /etc/bowline
command -v sshd >/dev/null 2>&1 || [ -x /usr/sbin/sshd ]`

// admit makes a box ready for SSH.
func (s *Server) admit(ctx context.Context, on inside, key HostKey) error {
	return s.script(ctx, on, script{"make SSH ready", "the image needs OpenSSH's sshd", sshdText}, string(key.private), on.user)
}

// script is a fixed shell text: what it is for, what an image needs for it.
type script struct{ what, hint, text string }

// script runs a shell text in a container as root.
func (s *Server) script(ctx context.Context, on inside, x script, stdin string, args ...string) error {
	_, err := s.ask(ctx, inside{on.container, "root"}, x, stdin, args...)
	return err
}

// maxAnswer bounds what a script may answer, in bytes.
const maxAnswer = 64 << 10

// ask runs a shell text and returns what it prints.
func (s *Server) ask(ctx context.Context, on inside, x script, stdin string, args ...string) (string, error) {
	out, said := capped{max: maxAnswer}, capped{max: maxAnswer}
	code, err := s.exec(ctx, on, ExecRequest{
		Argv: append([]string{"/bin/sh", "-c", x.text, "sh"}, args...), User: on.user, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &said,
	})
	if err == nil && code != 0 {
		err = diag.New(diag.Failure, x.what, x.hint, "exit code %d: %s", code, strings.TrimSpace(said.String()))
	}
	return out.String(), err
}

// capped keeps the first bytes that are written.
type capped struct {
	strings.Builder
	max int
}

func (c *capped) Write(p []byte) (int, error) {
	c.Builder.Write(p[:min(len(p), max(0, c.max-c.Len()))])
	return len(p), nil
}

// Connect serves one SSH connection to a box over in and out: sshd runs in the box for
// it, and no port is open anywhere. It returns when the connection ends.
func (s *Server) Connect(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	_, err := s.Exec(ctx, name, ExecRequest{
		Argv: []string{"/bin/sh", "-c", "p=$(command -v sshd) || p=/usr/sbin/sshd; exec \"$p\" -i -f /etc/bowline/sshd_config"}, User: "root", Stdin: in, Stdout: out, Stderr: io.Discard,
	})
	return err
}
