// Package profile holds named confinements: which parts of a target a command
// may see, which commands are allowed, and how much they may use, and what a dry
// run there defers. It validates; package profilefile reads them, and turning a
// profile into a bubblewrap command line is package sandbox's work.
//
// # What bounds a command
//
// The mounts, the cleared environment, the namespaces and the limits are the
// boundary. The allow-list is a convenience: it catches slips, and any program
// that starts others (env, find, xargs) walks around it.
//
// # Invariants
//
//   - Every path is absolute and clean. Where binds, tmpfs_paths and hide speak
//     of nested paths the deepest one decides; for the same path hide wins.
package profile

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Profile is one confinement. Package profilefile reads them; the zero
// value allows nothing to be seen. Values are not changed after validation.
type Profile struct {
	Name        string // identity; also part of MCP tool names
	Description string // one line; says what is unusual

	// AllowedCommands are patterns for argv[0], see [Profile.Allows]. An empty
	// list allows every program that the mounts offer.
	AllowedCommands []string

	Binds       []Bind            // host paths that are visible
	TmpfsPaths  []string          // empty, private, gone after the run
	Hide        []string          // masked, besides [DefaultHidden]; "*" matches within one name
	Environment map[string]string // the whole environment, unless ClearEnv is false
	ClearEnv    bool              // start from an empty environment; default true
	Cwd         string            // where the command starts; default "/"
	Hostname    string            // inside; default "sandbox"

	NetworkIsolation       bool // no network but an empty loopback; default true
	UserNamespaceIsolation bool // a user namespace even for root; default true
	HostProc               bool // host processes visible, read-only; default false
	UnixSockets            bool // may call socket(AF_UNIX); default false

	// SeccompProfile is compiled classic BPF that replaces Bowline's own
	// filter, or nil. Its byte order must be that of the target.
	SeccompProfile []byte

	// AdditionalArgs go to bubblewrap last, as they are. They can undo every
	// other field; [Profile.Warnings] says which ones do.
	AdditionalArgs []string

	Limits Limits

	// DryRun is what plans follow; commands do not need it.
	DryRun DryRun
}

// Bind makes a host path visible inside. A path that does not exist on the
// target is left out silently: layouts differ.
type Bind struct {
	Source   string
	Target   string
	ReadOnly bool // default true
	// CreateTarget is accepted for older files and has no effect: bubblewrap
	// makes missing mount points on its own.
	CreateTarget bool
}

// Limits bound what one run may use. Zero means no limit of that kind, except
// for Output and Wall, whose zero is the default.
type Limits struct {
	Memory     int64         // bytes of private memory per process (and in all, for root)
	Processes  int           // processes and threads of the sandbox
	CPUSeconds int           // per process
	OpenFiles  int           // per process
	Output     int64         // bytes kept per stream; default 10 MiB
	Wall       time.Duration // default 30 s
}

// DefaultName is the profile used where neither the call, the target nor the
// configuration names one.
const DefaultName = "readonly"

// Defaults of [Limits].
const (
	DefaultOutput = 10 << 20
	DefaultWall   = 30 * time.Second
	// MaxWall keeps a forgotten command from holding a target for ever.
	MaxWall = 24 * time.Hour
)

// Characters of names.
const (
	lowercase = "abcdefghijklmnopqrstuvwxyz"
	uppercase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	decimals  = "0123456789"
)

// validName reports whether name can be a profile's: names are file stems and part of
// MCP tool names.
func validName(name string) bool {
	return name != "" && len(name) <= 41 && strings.Trim(name, lowercase+decimals+"_-") == "" && name[0] != '_' && name[0] != '-'
}

// ValidEnvName reports whether name can be an environment variable (POSIX
// portable names, any case).
func ValidEnvName(name string) bool {
	return name != "" && strings.Trim(name, lowercase+uppercase+decimals+"_") == "" && !strings.Contains(decimals, name[:1])
}

// Error is a mistake in one field of a profile.
type Error struct {
	Field string // as in "binds[0].target"
	Err   error
}

func (e *Error) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func bad(field, format string, args ...any) error {
	return &Error{Field: field, Err: fmt.Errorf(format, args...)}
}

// Validate reports the first mistake as an [*Error].
func (p Profile) Validate() error {
	if !validName(p.Name) {
		return bad("name", "%q: use 1 to 41 lower-case letters, digits, '_' and '-'", p.Name)
	}
	if strings.ContainsAny(p.Description, "\n\r\x00") {
		return bad("description", "must be one line")
	}
	checks := []func() error{p.validateCommands, p.validateMounts, p.validateEnvironment, p.validateArgs, p.Limits.validate, p.DryRun.validate}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (p Profile) validateCommands() error {
	for i, c := range p.AllowedCommands {
		field := fmt.Sprintf("allowed_commands[%d]", i)
		if c == "" {
			return bad(field, "must not be empty")
		}
		if _, err := path.Match(c, ""); err != nil {
			return bad(field, "%q is not a glob pattern: %w", c, err)
		}
		if strings.Contains(c, "/") && (!path.IsAbs(c) || path.Clean(c) != c) {
			return bad(field, "%q: a pattern with '/' must be an absolute path without '.', '..' and '//'", c)
		}
	}
	return nil
}

func (p Profile) validateMounts() error {
	for i, b := range p.Binds {
		if err := cleanPath(b.Source); err != nil {
			return bad(fmt.Sprintf("binds[%d].source", i), "%w", err)
		}
		if err := cleanPath(b.Target); err != nil {
			return bad(fmt.Sprintf("binds[%d].target", i), "%w", err)
		}
	}
	for i, t := range p.TmpfsPaths {
		if err := cleanPath(t); err != nil {
			return bad(fmt.Sprintf("tmpfs_paths[%d]", i), "%w", err)
		}
		if t == "/" {
			return bad(fmt.Sprintf("tmpfs_paths[%d]", i), `"/" would hide everything; the root is private already`)
		}
	}
	for i, h := range p.Hide {
		if err := cleanPath(h); err != nil {
			return bad(fmt.Sprintf("hide[%d]", i), "%w", err)
		}
		if h == "/" {
			return bad(fmt.Sprintf("hide[%d]", i), `"/" would hide everything`)
		}
	}
	if p.Cwd != "" {
		if err := cleanPath(p.Cwd); err != nil {
			return bad("cwd", "%w", err)
		}
	}
	return nil
}

func (p Profile) validateEnvironment() error {
	for _, k := range slices.Sorted(maps.Keys(p.Environment)) {
		if !ValidEnvName(k) {
			return bad("environment", "[%s]: not a variable name", k)
		}
		if strings.Contains(p.Environment[k], "\x00") {
			return bad("environment", "[%s]: must not contain NUL", k)
		}
	}
	return nil
}

// fdArgs take descriptors that do not exist on the target, or end the options.
var fdArgs = []string{"--", "--args", "--seccomp", "--add-seccomp-fd", "--json-status-fd", "--info-fd", "--block-fd",
	"--userns-block-fd", "--sync-fd", "--file", "--bind-data", "--ro-bind-data", "--userns", "--userns2", "--pidns"}

func (p Profile) validateArgs() error {
	for i, a := range p.AdditionalArgs {
		field := fmt.Sprintf("additional_args[%d]", i)
		if a == "" || strings.ContainsAny(a, "\x00") {
			return bad(field, "must not be empty or contain NUL")
		}
		if slices.Contains(fdArgs, a) {
			return bad(field, "%s cannot be used: it needs a file descriptor on the target, or ends the options", a)
		}
	}
	if p.Hostname != "" && strings.ContainsAny(p.Hostname, "\x00\n /") {
		return bad("hostname", "%q is not a host name", p.Hostname)
	}
	return nil
}

func (l Limits) validate() error {
	switch {
	case l.Memory < 0 || l.Memory > 0 && l.Memory < 1<<20:
		return bad("limits.memory", "%d bytes: use at least 1 MiB, or leave it out", l.Memory)
	case l.Processes < 0 || l.Processes == 1:
		return bad("limits.processes", "%d: use at least 2", l.Processes)
	case l.CPUSeconds < 0:
		return bad("limits.cpu_seconds", "%d: must not be negative", l.CPUSeconds)
	case l.OpenFiles < 0 || l.OpenFiles > 0 && l.OpenFiles < 16:
		return bad("limits.open_files", "%d: use at least 16", l.OpenFiles)
	case l.Output < 0:
		return bad("limits.output", "must not be negative")
	case l.Wall < 0 || l.Wall > MaxWall:
		return bad("limits.wall", "%s: use up to %s", l.Wall, MaxWall)
	}
	return nil
}

// cleanPath demands an absolute path that means the same however it is read.
func cleanPath(p string) error {
	switch {
	case p == "":
		return fmt.Errorf("must not be empty")
	case strings.ContainsAny(p, "\x00\n"):
		return fmt.Errorf("%q: must not contain NUL or a newline", p)
	case !path.IsAbs(p):
		return fmt.Errorf("must be absolute: %q", p)
	case path.Clean(p) != p:
		return fmt.Errorf("%q: write it as %q", p, path.Clean(p))
	}
	return nil
}

// Clone returns a copy that shares nothing with p.
func (p Profile) Clone() Profile {
	p.AllowedCommands = slices.Clone(p.AllowedCommands)
	p.Binds = slices.Clone(p.Binds)
	p.TmpfsPaths = slices.Clone(p.TmpfsPaths)
	p.Hide = slices.Clone(p.Hide)
	p.Environment = maps.Clone(p.Environment)
	p.SeccompProfile = slices.Clone(p.SeccompProfile)
	p.AdditionalArgs = slices.Clone(p.AdditionalArgs)
	p.DryRun = p.DryRun.clone()
	return p
}

// loosening are bubblewrap options that take something back.
var loosening = map[string]string{
	"--bind": "makes a host path writable", "--bind-try": "makes a host path writable",
	"--dev-bind": "exposes devices", "--dev-bind-try": "exposes devices",
	"--share-net": "gives the host's network", "--cap-add": "gives a capability back",
	"--proc": "mounts a writable /proc", "--remount-rw": "makes mounts writable",
	"--overlay": "makes a host path writable", "--ro-bind": "may uncover a hidden path",
	"--ro-bind-try": "may uncover a hidden path",
	"--setenv":      "shows the value in the process list of the target; use environment instead",
}

// Warnings says what in a valid profile weakens the confinement.
func (p Profile) Warnings() []string {
	var w []string
	for _, b := range p.Binds {
		if !b.ReadOnly {
			w = append(w, fmt.Sprintf("binds: %s is writable: changes there are real, unreviewed and cannot be rolled back", b.Target))
		}
		if b.Target == "/proc" || strings.HasPrefix(b.Target, "/proc/") {
			w = append(w, "binds: "+b.Target+" covers the private /proc; use host_proc = true to see host processes")
		}
		if b.Target == "/run" || b.Target == "/var/run" {
			w = append(w, "binds: "+b.Target+" exposes the sockets of host services; a read-only mount does not stop a connect")
		}
	}
	if !p.ClearEnv {
		w = append(w, "clear_env = false: the environment of the login, tokens included, is visible inside")
	}
	if !p.NetworkIsolation {
		w = append(w, "network_isolation = false: the command can reach the network and abstract sockets of the host")
	}
	if p.UnixSockets {
		w = append(w, "unix_sockets = true: sockets below the visible paths can be connected to")
	}
	if !p.UserNamespaceIsolation {
		w = append(w, "user_namespace_isolation = false: for root, the kernel sees the real root")
	}
	if p.HostProc {
		w = append(w, "host_proc = true: names, arguments, mounts and open sockets of all host processes are visible")
	}
	for _, a := range p.AdditionalArgs {
		if why, ok := loosening[a]; ok {
			w = append(w, "additional_args: "+a+" "+why)
		}
	}
	return append(w, p.DryRun.warnings()...)
}
