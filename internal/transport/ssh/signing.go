package ssh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/bowline-sh/bowline/diag"
)

// SigningKey says which key a person signs with.
type SigningKey struct {
	// File is a key file, private or public; the agent is asked for it first. ""
	// means the first key of the agent, else the first of ~/.ssh/id_ed25519, id_ecdsa
	// and id_rsa.
	File        string
	AgentSocket string // as in [Config]
	Prompt      func(ctx context.Context, question string, echo bool) (string, error)
}

// Use lends f the key. Errors are *diag.Error of kind Denied, but for those of f.
func (k SigningKey) Use(ctx context.Context, f func(ssh.Signer) error) error {
	agentKeys, closeAgent := k.agent(ctx)
	defer closeAgent()
	signer, err := k.find(ctx, agentKeys)
	if err != nil {
		return err
	}
	return f(signer)
}

// agent returns the keys of the agent; none if it does not answer.
func (k SigningKey) agent(ctx context.Context) (keys []ssh.Signer, closeAgent func()) {
	socket := noneIsEmpty(k.AgentSocket)
	if k.AgentSocket == "" {
		socket = noneIsEmpty(defaultAgent())
	}
	if socket == "" {
		return nil, func() {}
	}
	conn, err := dialAgent(ctx, socket)
	if err != nil {
		return nil, func() {}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	all, err := agent.NewClient(conn).Signers()
	if err != nil {
		all = nil
	}
	for _, s := range all {
		if usable, err := newAgentKey(s); err == nil {
			keys = append(keys, usable)
		}
	}
	return keys, func() { stop(); _ = conn.Close() }
}

func (k SigningKey) find(ctx context.Context, inAgent []ssh.Signer) (ssh.Signer, error) {
	if k.File != "" {
		return k.file(ctx, k.File, inAgent)
	}
	if len(inAgent) > 0 {
		return inAgent[0], nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, diag.New(diag.Denied, "find a key to sign with", "", "%w", err)
	}
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		s, err := k.file(ctx, filepath.Join(home, ".ssh", name), inAgent)
		if !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
	}
	return nil, diag.New(diag.Denied, "find a key to sign with", "start ssh-agent and type 'ssh-add', or set approval.key_file in the configuration", "there is no key in ssh-agent and none in ~/.ssh")
}

// file returns the key that a file names: from the agent if that has it.
func (k SigningKey) file(ctx context.Context, path string, inAgent []ssh.Signer) (ssh.Signer, error) {
	var ask passphraseAsker
	if k.Prompt != nil {
		ask = func(ctx context.Context, path string) (string, error) {
			return k.Prompt(ctx, fmt.Sprintf("passphrase for key %q: ", path), false)
		}
	}
	// A public key may be named by its own file, too.
	key, err := readKeyFile(strings.TrimSuffix(path, ".pub"), ask)
	if err != nil {
		return nil, err
	}
	for _, s := range inAgent {
		if key.pub != nil && string(plainKey(s.PublicKey()).Marshal()) == string(key.pub.Marshal()) {
			return s, nil
		}
	}
	s, err := key.unlock(ctx)
	if err != nil {
		return nil, diag.New(diag.Denied, "sign", "add it to the agent: 'ssh-add "+path+"'", "key %q: %w", path, err)
	}
	return s, nil
}
