package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

// sshTimeout bounds "ssh -G". It takes 5 ms, unless a "Match exec" or a
// canonical host name takes longer.
const sshTimeout = 10 * time.Second

// maxSSHOutput bounds what "ssh -G" may print, in bytes. It prints 3 KiB.
const maxSSHOutput = 1 << 20

// settings is what ssh_config says about one host: the options that Bowline
// obeys, with "~" and tokens expanded. Options that would weaken the host key
// check have no field.
type settings struct {
	host             string
	port             int
	user             string
	alias            string // HostKeyAlias
	identityFiles    []string
	certificateFiles []string
	identityAgent    string // "" unset, "none", or a socket
	identitiesOnly   bool
	jump             string // ProxyJump; "" none
	proxyCommand     string // not expanded; "" none
	knownHosts       []string
	connectTimeout   time.Duration // 0 unset
}

// settingsKey is what an answer of ssh_config depends on.
type settingsKey struct {
	host, user string // user is "" unless given
	port       int    // 0 unless given
}

// settingsFor asks ssh_config about a host, once for the life of the Dialer.
func (d *Dialer) settingsFor(ctx context.Context, key settingsKey) (settings, error) {
	for {
		s, err := d.asker(ctx, key)()
		if err == nil {
			return s, nil
		}
		d.mu.Lock()
		delete(d.settings, key) // an error is not kept
		d.mu.Unlock()
		if (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) && ctx.Err() == nil {
			continue // whoever asked first has left; ask ourselves
		}
		return settings{}, err
	}
}

// asker returns the function that all callers with the same key share; the
// first to call it does the work, with its own ctx.
func (d *Dialer) asker(ctx context.Context, key settingsKey) func() (settings, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	get, ok := d.settings[key]
	if !ok {
		get = sync.OnceValues(func() (settings, error) { return d.readSettings(ctx, key) })
		d.settings[key] = get
	}
	return get
}

func (d *Dialer) readSettings(ctx context.Context, key settingsKey) (settings, error) {
	if d.cfg.SSHConfig == "none" {
		return withoutConfig(key)
	}
	program, err := exec.LookPath("ssh")
	if err != nil {
		d.cfg.Logf("no ssh program here; reading ssh_config ourselves")
		return readConfigFiles(key, d.cfg.SSHConfig)
	}
	out, err := d.askSSH(ctx, program, key)
	if err != nil {
		return settings{}, err
	}
	return parseSettings(out, key)
}

// sshArgs asks for the configuration of a host. The host stands after "--" so
// that it can never be read as an option.
func sshArgs(key settingsKey, config string) []string {
	args := []string{"-G", "-T"}
	if config != "" {
		args = append(args, "-F", config)
	}
	if key.user != "" {
		args = append(args, "-l", key.user)
	}
	if key.port != 0 {
		args = append(args, "-p", strconv.Itoa(key.port))
	}
	return append(args, "--", key.host)
}

// runSSH returns the standard output and error of ssh.
func runSSH(parent context.Context, program string, args []string) (out, told string, err error) {
	ctx, cancel := context.WithTimeout(parent, sshTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second // a "Match exec" may hold the pipes
	var stdout, stderr limitedBuffer
	stdout.limit, stderr.limit = maxSSHOutput, maxSSHOutput
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	switch {
	case parent.Err() != nil:
		return "", "", fmt.Errorf("ssh -G: %w", parent.Err())
	case ctx.Err() != nil: // not %w: only the caller's end is one to others
		return "", "", fmt.Errorf("ssh -G did not answer within %v", sshTimeout)
	case err != nil:
		return "", "", diag.New(diag.Usage, "", "correct what ssh complains of; to see it again type:\nssh -G "+args[len(args)-1],
			"ssh -G: %w: %s", err, clean(strings.TrimSpace(withoutDebug(stderr.String()))))
	}
	return stdout.String(), stderr.String(), nil
}

// limitedBuffer keeps the first limit bytes that are written to it.
type limitedBuffer struct {
	bytes.Buffer
	limit int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if keep := min(len(p), b.limit-b.Len()); keep > 0 {
		b.Buffer.Write(p[:keep])
	}
	return len(p), nil
}

var _ io.Writer = (*limitedBuffer)(nil)

// parseSettings reads the output of "ssh -G": one "option value" per line.
func parseSettings(out string, key settingsKey) (settings, error) {
	s := settings{port: 22}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		if err := s.set(strings.ToLower(name), value); err != nil {
			return settings{}, err
		}
	}
	if s.host == "" {
		return settings{}, fmt.Errorf("ssh -G names no host")
	}
	s.expand(key.host)
	return s, nil
}

// set takes one option. Those that Bowline does not obey are ignored, among
// them all that would weaken it: StrictHostKeyChecking, Ciphers, MACs...
func (s *settings) set(name, value string) error {
	switch name {
	case "hostname":
		s.host = value
	case "port":
		port, err := target.ParsePort(value)
		if err != nil {
			return fmt.Errorf("ssh_config: %w", err)
		}
		s.port = port
	case "user":
		s.user = value
	case "hostkeyalias":
		s.alias = value
	case "identityfile":
		s.identityFiles = append(s.identityFiles, value)
	case "certificatefile":
		s.certificateFiles = append(s.certificateFiles, value)
	case "identityagent":
		s.identityAgent = value
	case "identitiesonly":
		s.identitiesOnly = value == "yes" || value == "true"
	case "proxyjump":
		s.jump = noneIsEmpty(value)
	case "proxycommand":
		s.proxyCommand = noneIsEmpty(value)
	case "userknownhostsfile":
		for _, path := range splitWords(value) {
			if isNothing(path) { // how users switch the check off
				path = "~/.ssh/known_hosts"
			}
			s.knownHosts = append(s.knownHosts, path)
		}
	case "globalknownhostsfile":
		s.knownHosts = append(s.knownHosts, slices.DeleteFunc(splitWords(value), isNothing)...)
	case "connecttimeout":
		if n, err := strconv.Atoi(value); err == nil && n > 0 {
			s.connectTimeout = time.Duration(n) * time.Second
		}
	}
	return nil
}

func noneIsEmpty(value string) string {
	if strings.EqualFold(value, "none") {
		return ""
	}
	return value
}

// splitWords splits at spaces outside double quotes.
func splitWords(s string) []string {
	var words []string
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// expand replaces "~" and tokens in file names.
func (s *settings) expand(original string) {
	home, _ := os.UserHomeDir() // "" leaves "~" alone, and no such file exists
	r := newTokens(s, original, home)
	for _, list := range [][]string{s.identityFiles, s.certificateFiles, s.knownHosts} {
		for i, path := range list {
			list[i] = r.path(path)
		}
	}
	s.identityFiles = slices.DeleteFunc(s.identityFiles, isNone)
	s.certificateFiles = slices.DeleteFunc(s.certificateFiles, isNone)
	if !isNone(s.identityAgent) {
		s.identityAgent = r.agent(s.identityAgent)
	}
}

func isNone(s string) bool { return strings.EqualFold(s, "none") }

// isNothing reports whether a path stands for an empty known_hosts file.
func isNothing(path string) bool { return isNone(path) || path == "/dev/null" || path == os.DevNull }

// tokens expands the percent tokens that ssh_config(5) allows in file names.
type tokens struct {
	home   string
	values map[byte]string
}

func newTokens(s *settings, original, home string) tokens {
	local, _ := os.Hostname()
	short, _, _ := strings.Cut(local, ".")
	return tokens{home: home, values: map[byte]string{
		'%': "%", 'd': home, 'h': s.host, 'n': original, 'p': strconv.Itoa(s.port), 'r': s.user,
		'k': firstOf(s.alias, original), 'l': local, 'L': short, 'u': localUser(), 'i': strconv.Itoa(os.Getuid()),
	}}
}

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

// localUser is the account that runs Bowline, without a Windows domain.
func localUser() string {
	u, err := user.Current()
	if err != nil {
		return os.Getenv("USER")
	}
	return u.Username[strings.LastIndexByte(u.Username, '\\')+1:]
}

var envRE = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// path expands "~/", "%x" and "${NAME}". Unknown tokens stay: then no such
// file exists.
func (r tokens) path(p string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok && r.home != "" {
		p = r.home + "/" + rest
	}
	p = envRE.ReplaceAllStringFunc(p, func(m string) string { return os.Getenv(m[2 : len(m)-1]) })
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if v, ok := r.value(p, i); ok {
			b.WriteString(v)
			i++
			continue
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

func (r tokens) value(p string, i int) (string, bool) {
	if p[i] != '%' || i+1 == len(p) {
		return "", false
	}
	v, ok := r.values[p[i+1]]
	return v, ok
}

// agent expands IdentityAgent, which may name an environment variable.
func (r tokens) agent(s string) string {
	if s == "SSH_AUTH_SOCK" {
		return os.Getenv(s)
	}
	if name, ok := strings.CutPrefix(s, "$"); ok && !strings.HasPrefix(name, "{") {
		return os.Getenv(name)
	}
	return r.path(s)
}

// withoutConfig is what holds where nothing of the user's is read.
func withoutConfig(key settingsKey) (settings, error) {
	s := settings{host: key.host, port: key.port, user: firstOf(key.user, localUser())}
	if s.port == 0 {
		s.port = 22
	}
	if s.user == "" {
		return settings{}, errors.New("the name of the local account is unknown")
	}
	return s, nil
}

// defaultIdentityFiles are the keys that ssh tries where nobody names one.
func defaultIdentityFiles() []string {
	return []string{"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"}
}

// defaultKnownHosts are the files that ssh reads where nobody names one.
func defaultKnownHosts() []string {
	if runtime.GOOS == "windows" {
		return []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2", os.Getenv("PROGRAMDATA") + `\ssh\ssh_known_hosts`}
	}
	return []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
}
