package keys

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/authkeys"
	"github.com/bowline-sh/bowline/internal/durable"
	transport "github.com/bowline-sh/bowline/internal/transport/ssh"
)

// Prompt asks a person; echo says whether the answer may be shown.
type Prompt func(ctx context.Context, question string, echo bool) (string, error)

// askPassphrase asks for a new passphrase twice. An empty one is an error: no
// passphrase is asked for where none is wanted.
func askPassphrase(ctx context.Context, ask Prompt, what string) (string, error) {
	const op = "ask for a passphrase"
	if ask == nil {
		return "", diag.New(diag.Usage, op, "run it on a terminal, or make the key without a passphrase on purpose: '--no-passphrase'", "nobody can be asked for the passphrase of %s", what)
	}
	first, err := ask(ctx, "new passphrase for "+what+": ", false)
	if err != nil {
		return "", err
	}
	again, err := ask(ctx, "the same again: ", false)
	switch {
	case err != nil:
		return "", err
	case first != again:
		return "", diag.New(diag.Usage, op, "", "the two answers differ; no key was made")
	case first == "":
		return "", diag.New(diag.Usage, op, "for a key without passphrase, give '--no-passphrase'", "the passphrase is empty; no key was made")
	}
	return first, nil
}

// madeBy begins the comment of a key that we made; the time follows.
const madeBy = "bowline "

// comment is that of a new key: where it came from, and when.
func comment(name string, now time.Time) string {
	return madeBy + name + " " + now.UTC().Format(time.RFC3339)
}

// madeAt reads the time from a comment of ours.
func madeAt(text string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(text, madeBy)
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, rest[strings.LastIndexByte(rest, ' ')+1:])
	return at, err == nil
}

// write makes an ed25519 key at path (0600, OpenSSH's format) and its public half at
// path.pub. Neither may exist.
func write(path, comment, passphrase string) (transport.Key, error) {
	op := "make key"
	for _, p := range []string{path, path + ".pub"} {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			return transport.Key{}, diag.New(diag.Usage, op, "choose another name", "%s exists; it was not touched", p)
		}
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return transport.Key{}, diag.New(diag.Failure, op, "", "%w", err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, comment)
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, comment, []byte(passphrase))
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = writeNew(path, pem.EncodeToMemory(block))
	}
	if err == nil {
		var pub ssh.PublicKey
		if pub, err = ssh.NewPublicKey(public); err == nil {
			err = writePublic(path, pub, comment)
		}
	}
	if err != nil {
		return transport.Key{}, diag.New(diag.Failure, op, "", "%w", err)
	}
	return transport.ReadKey(path)
}

// writeNew makes a file that only its owner can read. It never replaces one.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return durable.SyncDir(filepath.Dir(path))
}

func writePublic(path string, pub ssh.PublicKey, comment string) error {
	return durable.WriteFile(path+".pub", []byte(authkeys.Line("", pub, comment)+"\n"), 0o644)
}

// freeName returns a name in dir for a new key of a target that nobody has.
func freeName(dir, name string, now time.Time) (string, error) {
	base := filepath.Join(dir, name+"-"+now.UTC().Format("20060102"))
	for i := 1; i < 1000; i++ {
		path := base
		if i > 1 {
			path = fmt.Sprintf("%s-%d", base, i)
		}
		_, err := os.Lstat(path)
		_, pubErr := os.Lstat(path + ".pub")
		if errors.Is(err, fs.ErrNotExist) && errors.Is(pubErr, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no free name like %s", base)
}
