// Package target holds the values that name where Bowline may act: targets,
// their addresses, and selectors over them. It parses and validates; it does
// no I/O.
package target

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Kind is how a target is reached.
type Kind string

const (
	SSH   Kind = "ssh"   // over SSH
	Local Kind = "local" // this machine
	HTTPS Kind = "https" // a host that runs "bowline serve"
)

// LocalName is the target that always exists: this machine.
const LocalName = "local"

// Target is a named host and account we may act on. The zero value is not
// valid; see [Target.Validate]. Values are immutable once validated.
type Target struct {
	Name       string
	Kind       Kind
	Host       string // name or address without brackets; may be an alias of ssh_config
	User       string // login; "" means what ssh_config or the local login says
	Port       int    // 0 means what ssh_config says, else 22
	KeyFile    string // private key; "" means agent and ssh_config
	KnownHosts string // extra known_hosts file, consulted besides ours and the user's
	Profile    string // default profile; "" means the configuration's
	Become     string // "sudo" or ""
	Jump       string // overrides ProxyJump: [USER@]HOST[:PORT] or a target's name
	Labels     map[string]string
	Disabled   bool
	Password   bool // ask for a password if keys do not do; off by default
	// AllowLoopback lets boxes be made on an address of this machine. For tests alone:
	// boxes are remote-only.
	AllowLoopback bool
	NoHelper      bool // never start a helper there: agentless only, and no plans
	// TokenFile holds the token, and Fingerprint pins the certificate, "SHA256:...", of
	// a target of kind https.
	TokenFile   string
	Fingerprint string
}

// nameRE: names stand in command lines, files and selectors, so they keep
// clear of separators (",", "!", "@", "=", ":", "/") and of a leading dash.
var nameRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$`)

// reserved words have a meaning of their own in selectors.
var reserved = []string{"all", "default", "none"}

// ValidName reports why name cannot name a target, or nil.
func ValidName(name string) error {
	if !nameRE.MatchString(name) {
		return fmt.Errorf("target name %q: use 1 to 63 letters, digits, '.', '_' and '-', not starting with '-' or '.'", name)
	}
	if slices.Contains(reserved, name) {
		return fmt.Errorf("target name %q is reserved", name)
	}
	return nil
}

// labelRE bounds label keys and values to what a selector can spell.
var labelRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./-]{0,62}$`)

// fingerprintRE is a SHA-256 digest in base64 without padding.
var fingerprintRE = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)

// ParseLabel parses "key=value".
func ParseLabel(s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok || !labelRE.MatchString(key) || !labelRE.MatchString(value) {
		return "", "", fmt.Errorf("label %q: use KEY=VALUE of letters, digits, '.', '_', '/' and '-'", s)
	}
	return key, value, nil
}

// Validate reports the first thing wrong with t, naming the field.
func (t Target) Validate() error {
	if err := ValidName(t.Name); err != nil {
		return err
	}
	switch t.Kind {
	case Local:
		return nil
	case SSH, HTTPS:
	default:
		return fmt.Errorf("type %q: use ssh, local or https", t.Kind)
	}
	if err := validHost(t.Host); err != nil {
		return err
	}
	if t.Kind == HTTPS && t.User != "" {
		return fmt.Errorf("user %q: a target of type https acts as the account that serves there", t.User)
	}
	if t.User != "" {
		if err := validUser(t.User); err != nil {
			return err
		}
	}
	if t.Port < 0 || t.Port > 65535 {
		return fmt.Errorf("port %d: use 1 to 65535", t.Port)
	}
	if t.Become != "" && t.Become != "sudo" {
		return fmt.Errorf("become %q: only sudo is known", t.Become)
	}
	if t.Fingerprint != "" && !fingerprintRE.MatchString(t.Fingerprint) {
		return fmt.Errorf("fingerprint %q: use SHA256: and 43 letters of base64", t.Fingerprint)
	}
	for k, v := range t.Labels {
		if _, _, err := ParseLabel(k + "=" + v); err != nil {
			return err
		}
	}
	return nil
}

// Clone returns a copy that shares nothing with t.
func (t Target) Clone() Target {
	t.Labels = maps.Clone(t.Labels)
	return t
}

// plain reports whether s is printable UTF-8 without spaces.
func plain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r <= ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return false
		}
	}
	return true
}
