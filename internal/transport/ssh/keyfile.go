package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
)

const (
	// maxKeyFile bounds a key or certificate file, in bytes; an RSA key of
	// 16,384 bits takes 13 KiB.
	maxKeyFile = 1 << 20

	// passphraseTries is how often a person is asked for one passphrase or
	// password, as NumberOfPasswordPrompts of OpenSSH.
	passphraseTries = 3
)

// errNoPrompt means that a secret is needed and nobody is there to ask.
var errNoPrompt = errors.New("it is encrypted and nobody can be asked for its passphrase")

// keyFile is a key pair on disk. Its private half may be missing (then the
// file only tells which key of the agent to use) or encrypted.
type keyFile struct {
	path   string
	pub    ssh.PublicKey   // nil for an encrypted key in a format that hides it
	signer ssh.Signer      // nil while encrypted, or without private half
	sealed []byte          // the encrypted file, nil if it is not
	ask    passphraseAsker // for sealed
}

// passphraseAsker asks a person for the passphrase of the key at path.
type passphraseAsker func(ctx context.Context, path string) (string, error)

// readKeyFile reads the key at path. An error is a [*diag.Error] of kind
// Denied and wraps fs.ErrNotExist where there is neither path nor path.pub.
func readKeyFile(path string, ask passphraseAsker) (*keyFile, error) {
	data, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		pub, pubErr := readPublic(path + ".pub")
		if pubErr != nil {
			return nil, diag.New(diag.Denied, "", "name a key file that exists, or make one:\nssh-keygen -t ed25519 -f "+path, "key file: %w", err)
		}
		return &keyFile{path: path, pub: pub}, nil
	}
	if err != nil {
		return nil, err
	}
	k := &keyFile{path: path, ask: ask}
	if err := k.parse(data); err != nil {
		return nil, err
	}
	if k.pub != nil {
		if err := checkStrength(k.pub); err != nil {
			return nil, diag.New(diag.Denied, "", "make a new key:\nssh-keygen -t ed25519", "key file %q: %w", path, err)
		}
	}
	return k, nil
}

func (k *keyFile) parse(data []byte) error {
	if pub, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
		k.pub = pub // a public key: the agent holds the other half
		return nil
	}
	signer, err := ssh.ParsePrivateKey(data)
	if missing, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		k.sealed, k.pub = data, missing.PublicKey
		if pub, err := readPublic(k.path + ".pub"); k.pub == nil && err == nil {
			k.pub = pub
		}
		return nil
	}
	if err != nil {
		return diag.New(diag.Denied, "", "check that it is a private key:\nssh-keygen -y -f "+k.path, "key file %q: %s", k.path, clean(err.Error()))
	}
	k.signer, k.pub = signer, signer.PublicKey()
	return nil
}

// readPrivate reads a file that only its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, diag.New(diag.Denied, "", "", "key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, diag.New(diag.Denied, "", "", "key file: %w", err)
	case !info.Mode().IsRegular():
		return nil, diag.New(diag.Denied, "", "", "key file %q is not a file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, diag.New(diag.Denied, "", "", "key file: %w", err)
	}
	// Windows keeps its permissions elsewhere, and a public key is nobody's
	// secret.
	_, _, _, _, notPublic := ssh.ParseAuthorizedKey(data)
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" && notPublic != nil {
		return nil, diag.New(diag.Denied, "", "let only its owner read it:\nchmod 600 "+path,
			"key file %q has mode %04o: others than its owner can use it", path, perm)
	}
	return data, nil
}

// readPublic reads a public key or certificate in the form of authorized_keys.
func readPublic(path string) (ssh.PublicKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(data)
	return pub, err
}

// readCertificate reads a user certificate; ok is false if there is none.
func readCertificate(path string) (cert *ssh.Certificate, ok bool) {
	pub, err := readPublic(path)
	if err != nil {
		return nil, false
	}
	cert, ok = pub.(*ssh.Certificate)
	return cert, ok && cert.CertType == ssh.UserCert
}

// unlock returns the private half, asking for its passphrase if need be. The
// answer is kept in memory for the life of k.
func (k *keyFile) unlock(ctx context.Context) (ssh.Signer, error) {
	if k.signer != nil {
		return k.signer, nil
	}
	if k.sealed == nil {
		return nil, errors.New("its private half is neither in the file nor in the agent")
	}
	if k.ask == nil {
		return nil, errNoPrompt
	}
	for range passphraseTries {
		answer, err := k.ask(ctx, k.path)
		if err != nil {
			return nil, err
		}
		signer, err := ssh.ParsePrivateKeyWithPassphrase(k.sealed, []byte(answer))
		if err != nil {
			continue
		}
		if k.pub != nil && !bytes.Equal(signer.PublicKey().Marshal(), k.pub.Marshal()) {
			return nil, errors.New("its public half belongs to another key")
		}
		if err := checkStrength(signer.PublicKey()); err != nil {
			return nil, err
		}
		k.signer, k.pub, k.sealed = signer, signer.PublicKey(), nil
		return signer, nil
	}
	return nil, errors.New("wrong passphrase")
}

// lazySigner is a key whose passphrase is asked for only when the server has
// said that it accepts the key.
type lazySigner struct {
	ctx context.Context // of the dial, which is shorter than the signer's life
	key *keyFile
	pub ssh.PublicKey
}

func (s lazySigner) PublicKey() ssh.PublicKey { return s.pub }

func (s lazySigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(rand, data, "")
}

func (s lazySigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signer, err := s.key.unlock(s.ctx)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", s.key.path, err)
	}
	as, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return signer.Sign(rand, data)
	}
	return as.SignWithAlgorithm(rand, data, algorithm)
}

// modern limits a signer to signatures that are not SHA-1.
func modern(s ssh.AlgorithmSigner) (ssh.Signer, error) {
	typ := s.PublicKey().Type()
	if !slices.Contains([]string{ssh.KeyAlgoRSA, ssh.CertAlgoRSAv01, ssh.CertAlgoRSASHA256v01, ssh.CertAlgoRSASHA512v01}, typ) {
		return s, nil
	}
	return ssh.NewSignerWithAlgorithms(s, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256})
}
