package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/bowline-sh/bowline/diag"
)

// agentTimeout bounds how long the agent may take to list its keys. A live one
// takes a millisecond; one behind a dead forwarding never answers.
const agentTimeout = 3 * time.Second

// credentials are the keys on disk for one endpoint. They are read before
// anything is sent, and kept while the dial is retried.
type credentials struct {
	explicit *keyFile   // of the target, nil without
	files    []*keyFile // of ssh_config, in its order
	certs    []*ssh.Certificate
	skipped  []string // files of ssh_config that cannot be used, with the reason
	hints    []string
}

// readCredentials reads the key files of e. A fault of the file that the
// target names is an error; those of ssh_config, most of them defaults, are
// passed over as ssh does.
func readCredentials(e endpoint, ask passphraseAsker) (*credentials, error) {
	c := &credentials{}
	if e.keyFile != "" {
		k, err := readKeyFile(e.keyFile, ask)
		if err != nil {
			return nil, err
		}
		c.explicit = k
		c.addCertificate(e.keyFile + "-cert.pub")
	}
	for _, path := range e.identityFiles {
		if path == e.keyFile {
			continue
		}
		k, err := readKeyFile(path, ask)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			c.skipped = append(c.skipped, err.Error())
			c.hints = append(c.hints, diag.HintOf(err))
		default:
			c.files = append(c.files, k)
			c.addCertificate(path + "-cert.pub")
		}
	}
	for _, path := range e.certificateFiles {
		c.addCertificate(path)
	}
	return c, nil
}

func (c *credentials) addCertificate(path string) {
	if cert, ok := readCertificate(path); ok {
		c.certs = append(c.certs, cert)
	}
}

// named returns all key files, that of the target first.
func (c *credentials) named() []*keyFile {
	if c.explicit == nil {
		return c.files
	}
	return append([]*keyFile{c.explicit}, c.files...)
}

// identity is one key to try: in the agent, in a file, or certified.
type identity struct {
	label string // for people: file name, or "agent: comment" kept out of it
	agent bool
	file  *keyFile   // nil for the agent's
	pub   []byte     // "" where it is not known before unlocking
	key   ssh.Signer // nil where unlocking must come first
}

// login is the authentication of one attempt.
type login struct {
	ctx       context.Context
	dialer    *Dialer
	end       endpoint
	clock     *clock
	creds     *credentials
	agentConn net.Conn // nil without agent

	queue     []identity
	passwords int  // passwords that may still be asked for
	typed     bool // a password was sent

	// What is known afterwards, for Info and for the error.
	keyID     string
	tried     []string
	agentKeys int
	problems  []string
	hints     []string
	allowed   []string // methods the server accepts; hostile text
}

// newLogin opens the agent and puts the keys in order: keys of the agent that
// a file names, the target's own key file, the other keys of the agent, and
// the other files. So a named key is never lost among many in the agent, of
// which sshd takes six. Close ends it.
func (d *Dialer) newLogin(ctx context.Context, r *route) *login {
	l := &login{
		ctx: ctx, dialer: d, end: r.end, clock: r.clock, creds: r.creds,
		problems: slices.Clone(r.creds.skipped), hints: slices.Clone(r.creds.hints),
	}
	if r.end.password && d.cfg.Prompt != nil {
		l.passwords = passphraseTries
	}
	inAgent := l.openAgent()
	var named, others []identity
	for _, k := range r.creds.named() {
		named = append(named, l.fromAgent(inAgent, k)...)
	}
	if !r.end.identitiesOnly {
		for _, s := range inAgent {
			others = append(others, l.agentIdentity(s))
		}
	}
	l.queue = named
	if k := r.creds.explicit; k != nil && k.signer != nil {
		l.addFile(k)
	}
	l.queue = append(l.queue, others...)
	for _, k := range r.creds.named() {
		l.addFile(k)
	}
	l.dropRepeated()
	return l
}

// Close ends the connection to the agent.
func (l *login) Close() {
	if l.agentConn != nil {
		l.agentConn.Close()
	}
}

// openAgent returns the keys of the agent. An agent that does not answer is
// noted, not fatal.
func (l *login) openAgent() []ssh.Signer {
	socket := l.end.agentSocket
	if socket == "" {
		return nil
	}
	conn, err := dialAgent(l.ctx, socket)
	if err != nil {
		l.problem("ssh-agent at %q does not answer: %s", socket, netCause(err))
		return nil
	}
	l.agentConn = conn
	_ = conn.SetDeadline(l.dialer.cfg.Now().Add(agentTimeout))
	signers, err := agent.NewClient(conn).Signers()
	_ = conn.SetDeadline(time.Time{})
	if err != nil {
		l.problem("ssh-agent at %q does not answer: %s", socket, clean(err.Error()))
		return nil
	}
	var usable []ssh.Signer
	for _, s := range signers {
		k, err := newAgentKey(s)
		if err != nil {
			l.problem("a key of ssh-agent is passed over: %s", err)
			continue
		}
		usable = append(usable, k)
	}
	return usable
}

// agentKey is a key of the agent. x/crypto's own type hides what kind of key
// it is.
type agentKey struct {
	ssh.AlgorithmSigner
	pub ssh.PublicKey
}

func (k agentKey) PublicKey() ssh.PublicKey { return k.pub }

func newAgentKey(s ssh.Signer) (ssh.Signer, error) {
	as, ok := s.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("it cannot choose its signature algorithm")
	}
	pub, err := ssh.ParsePublicKey(s.PublicKey().Marshal())
	if err != nil {
		return nil, cleanError{err}
	}
	if err := checkStrength(pub); err != nil {
		return nil, err
	}
	return agentKey{as, pub}, nil
}

func (l *login) problem(format string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

func (l *login) agentIdentity(s ssh.Signer) identity {
	return identity{agent: true, pub: s.PublicKey().Marshal(), key: s}
}

// fromAgent returns the agent's keys that are k or certify it.
func (l *login) fromAgent(signers []ssh.Signer, k *keyFile) []identity {
	var all []identity
	for _, s := range signers {
		if k.pub == nil || string(plainKey(s.PublicKey()).Marshal()) != string(k.pub.Marshal()) {
			continue
		}
		if _, certified := s.PublicKey().(*ssh.Certificate); !certified {
			for _, cs := range l.certify(s) {
				all = append(all, identity{agent: true, pub: cs.PublicKey().Marshal(), key: cs})
			}
		}
		all = append(all, l.agentIdentity(s))
	}
	return all
}

func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

// certify returns s under each certificate on disk that is for its key.
func (l *login) certify(s ssh.Signer) []ssh.Signer {
	var all []ssh.Signer
	for _, cert := range l.creds.certs {
		if cs, err := ssh.NewCertSigner(cert, s); err == nil { // else it is for another key
			all = append(all, cs)
		}
	}
	return all
}

// addFile queues the key in a file, its certificates first.
func (l *login) addFile(k *keyFile) {
	if k.pub == nil { // the passphrase comes first
		l.queue = append(l.queue, identity{label: k.path, file: k})
		return
	}
	if k.signer == nil && k.sealed == nil {
		return // only a public half: the agent has it or nobody
	}
	lazy := lazySigner{ctx: l.ctx, key: k, pub: k.pub}
	for _, s := range append(l.certify(lazy), lazy) {
		label := k.path
		if _, ok := s.PublicKey().(*ssh.Certificate); ok {
			label += " (certificate)"
		}
		l.queue = append(l.queue, identity{label: label, file: k, pub: s.PublicKey().Marshal(), key: s})
	}
}

// dropRepeated keeps the first of each key.
func (l *login) dropRepeated() {
	seen := map[string]bool{}
	l.queue = slices.DeleteFunc(l.queue, func(id identity) bool {
		if id.pub == nil {
			return false
		}
		again := seen[string(id.pub)]
		seen[string(id.pub)] = true
		return again
	})
}

// errExhausted ends an authentication that has nothing left to try.
var errExhausted = errors.New("nothing left to try")

// next is what x/crypto asks for another method, until one succeeds. Each key
// is a method of its own, so that a key that fails to sign does not end the
// login.
func (l *login) next(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	if err := context.Cause(l.ctx); err != nil {
		return nil, err
	}
	l.allowed = c.AllowedMethods
	if slices.Contains(c.AllowedMethods, "publickey") {
		for len(l.queue) > 0 {
			id := l.queue[0]
			l.queue = l.queue[1:]
			if s, ok := l.signer(id); ok {
				return ssh.PublicKeys(s), nil
			}
		}
	}
	if l.passwords > 0 {
		switch {
		case slices.Contains(c.AllowedMethods, "password"):
			l.passwords--
			l.typed = true
			l.tried = append(l.tried, "password")
			return ssh.PasswordCallback(l.password), nil
		case slices.Contains(c.AllowedMethods, "keyboard-interactive"):
			l.passwords--
			l.tried = append(l.tried, "keyboard-interactive")
			return ssh.KeyboardInteractive(l.challenge), nil
		}
	}
	return nil, errExhausted
}

// signer makes the key ready to be tried and keeps count of it.
func (l *login) signer(id identity) (ssh.Signer, bool) {
	if id.key == nil {
		s, err := id.file.unlock(l.ctx)
		if err != nil {
			l.keyProblem(id, err)
			return nil, false
		}
		id.key = s
	}
	if id.agent {
		l.agentKeys++
	} else {
		l.tried = append(l.tried, strconv.Quote(id.label))
	}
	as, ok := id.key.(ssh.AlgorithmSigner)
	if !ok {
		l.keyProblem(id, errors.New("it cannot choose its signature algorithm"))
		return nil, false
	}
	s, err := modern(observed{AlgorithmSigner: as, login: l, id: id})
	if err != nil {
		l.keyProblem(id, err)
		return nil, false
	}
	return s, true
}

func (l *login) keyProblem(id identity, err error) {
	if id.agent {
		l.problem("ssh-agent refused to sign: %s", clean(err.Error()))
		return
	}
	if errors.Is(err, errNoPrompt) {
		l.hints = append(l.hints, "unlock the key once for all:\nssh-add "+id.file.path)
	}
	l.problem("key %q: %s", id.file.path, clean(err.Error()))
}

// observed notes which key was used, and why one was not. While a FIDO key
// waits for a touch the clock of the dial stands still.
type observed struct {
	ssh.AlgorithmSigner
	login *login
	id    identity
}

func (o observed) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	if strings.HasPrefix(o.PublicKey().Type(), "sk-") {
		defer o.login.clock.pause()()
	}
	sig, err := o.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
	if err != nil {
		o.login.keyProblem(o.id, err)
		return nil, err
	}
	o.login.keyID = ssh.FingerprintSHA256(plainKey(o.PublicKey()))
	return sig, nil
}

func (o observed) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return o.SignWithAlgorithm(rand, data, "")
}

func (l *login) password() (string, error) {
	return l.clock.ask(l.dialer.cfg.Prompt, fmt.Sprintf("password for %s: ", l.end), false)
}

// challenge answers keyboard-interactive. The questions are the server's text.
func (l *login) challenge(_, instruction string, questions []string, echos []bool) ([]string, error) {
	if len(questions) > 16 {
		return nil, errors.New("the server asks too many questions")
	}
	answers := make([]string, len(questions))
	for i, q := range questions {
		text := strings.TrimSpace(strings.TrimSpace(instruction) + " " + strings.TrimSpace(q))
		a, err := l.clock.ask(l.dialer.cfg.Prompt, fmt.Sprintf("%s asks: %s ", l.end, clean(text)), echos[i])
		if err != nil {
			return nil, err
		}
		answers[i] = a
	}
	return answers, nil
}

// denied is the error for a login that the server refused.
func (l *login) denied(cause error) error {
	var tried []string
	if l.agentKeys > 0 {
		tried = append(tried, fmt.Sprintf("ssh-agent (%d keys)", l.agentKeys))
	}
	tried = append(tried, slices.Compact(l.tried)...)
	if len(tried) == 0 {
		tried = []string{"nothing, for want of a usable key"}
	}
	text := "authentication failed; tried " + strings.Join(tried, ", ")
	if len(l.allowed) > 0 {
		text += "; the server accepts " + clean(strings.Join(l.allowed, ", "))
	}
	for _, p := range l.problems {
		text += "; " + p
	}
	if cause != nil && !errors.Is(cause, errExhausted) {
		text += "; " + clean(cause.Error())
	}
	return diag.New(diag.Denied, "", l.hint(cause), "%s", text)
}

func (l *login) hint(cause error) string {
	hints := slices.Clone(l.hints)
	if cause != nil && strings.Contains(cause.Error(), "Too many authentication failures") {
		hints = append(hints, "the server takes only so many keys; set key_file for the target, or IdentitiesOnly yes in ssh_config")
	}
	if len(hints) == 0 {
		hints = l.generalHints()
	}
	return strings.Join(slices.Compact(slices.DeleteFunc(hints, func(s string) bool { return s == "" })), "\n")
}

func (l *login) generalHints() []string {
	if len(l.tried) == 0 && l.agentKeys == 0 {
		return []string{"give ssh-agent a key, or set key_file for the target:\nssh-add ~/.ssh/id_ed25519"}
	}
	key := ""
	if k := l.creds.explicit; k != nil {
		key = "-i " + strings.TrimSuffix(k.path, ".pub") + ".pub "
	}
	return []string{fmt.Sprintf("check that the target lists your public key for %s; to see what you offer and to add it:\nssh-add -l\nssh-copy-id %s-p %d %s@%s",
		l.end.user, key, l.end.port, l.end.user, l.end.host)}
}
