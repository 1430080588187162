package helper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// etcDir is where root of a target says what it demands of whoever changes it. What
// stands there holds whatever a client says.
const etcDir = "/etc/bowline"

// Files in it. Their presence is the demand.
const (
	signersFile = "allowed_signers" // as ssh-keygen(1) has it: approvals must be signed by one of these
	namesFile   = "host_keys"       // fingerprints, one a line: plans must be made for one of these
)

// keygen checks signatures: the target's own OpenSSH decides, not code of ours.
const keygen = "/usr/bin/ssh-keygen"

// policy is what a directory such as etcDir demands.
type policy struct{ dir string }

// verify reports why an approval is not one that this host accepts, or nil. Kind
// Denied: nothing was touched.
func (p policy) verify(ctx context.Context, a plan.Approval, pl plan.Plan) error {
	if err := p.named(pl.HostKey); err != nil {
		return err
	}
	_, err := p.read(signersFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = p.signed(ctx, a, pl)
	}
	if err != nil {
		return diag.New(diag.Denied, "apply session "+pl.Session,
			"set approval.sign = true in the configuration, plan it again, and let somebody approve it whom "+filepath.Join(p.dir, signersFile)+" on the target names", "this host applies only what was signed: %w", err)
	}
	return nil
}

// named checks that the plan was made for this host: a signature for another would
// fit a plan with the same effect here.
func (p policy) named(hostKey string) error {
	text, err := p.read(namesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !slices.Contains(strings.Fields(string(text)), hostKey) {
		err = fmt.Errorf("the plan was made for the host with the key %q", hostKey)
	}
	if err != nil {
		return diag.New(diag.Denied, "apply", "plan it again on this host; its keys stand in "+filepath.Join(p.dir, namesFile), "%w", err)
	}
	return nil
}

// read reads a file that only root can have written.
func (p policy) read(name string) ([]byte, error) {
	r, err := os.OpenRoot(p.dir)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, path := range []string{".", name} {
		info, err := r.Lstat(path)
		if err != nil {
			return nil, err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 || path == name && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s must belong to root and be writable by nobody else", filepath.Join(p.dir, path))
		}
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(f)
	return b.Bytes(), err
}

// signed checks the signature of a for a principal that may sign now.
func (p policy) signed(ctx context.Context, a plan.Approval, pl plan.Plan) error {
	if a.Signature == "" {
		return fmt.Errorf("the approval of %s is not signed", a.User)
	}
	if _, err := os.Stat(keygen); err != nil {
		return fmt.Errorf("%s is missing, which checks signatures: %w", keygen, err)
	}
	dir, err := os.MkdirTemp("", "bowline-sig-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sig := filepath.Join(dir, "sig")
	if err := os.WriteFile(sig, []byte(a.Signature), 0o600); err != nil {
		return err
	}
	signers := filepath.Join(p.dir, signersFile)
	names, err := runKeygen(ctx, nil, "-Y", "find-principals", "-s", sig, "-f", signers)
	if err != nil {
		return fmt.Errorf("nobody whom it names made the signature: %w", err)
	}
	statement := a.Statement(len(pl.Ops))
	for name := range strings.Lines(names) {
		if _, err = runKeygen(ctx, statement, "-Y", "verify", "-n", plan.SignatureNamespace, "-s", sig, "-f", signers, "-I", strings.TrimSpace(name)); err == nil {
			return nil
		}
	}
	return err
}

// runKeygen runs ssh-keygen and returns what it says; its last words are in the error.
func runKeygen(ctx context.Context, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, keygen, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ssh-keygen %s: %w: %.400q", args[1], err, strings.TrimSpace(stderr.String()+string(out)))
	}
	return string(out), nil
}
