package sandbox

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/diag"
)

// Descriptors that bubblewrap is started with, as in boot.sh; filterFD is in
// seccomp.go. It waits on blockFD before it executes the command.
const (
	envFD    = 3
	blockFD  = 4
	statusFD = 5
)

// markPrefix begins the argument by which what bubblewrap leaves behind is found.
const markPrefix = "bowline_"

// options resolves steps on this machine, as m in boot.sh does on a target: argv
// are the options of bubblewrap, env those that set the environment, each ended by
// a NUL, for --args.
//
// It does in Go what optionText makes a shell do. Both must give the same, which
// TestNativeIsTheShell holds them to.
func options(steps []Step, mark string) (argv []string, env []byte, err error) {
	argv = []string{"--json-status-fd", fmt.Sprint(statusFD), "--block-fd", fmt.Sprint(blockFD), "--unsetenv", markPrefix + mark}
	for _, s := range steps {
		switch {
		case s.Mask != nil:
			argv, err = s.Mask.lay(argv, false)
		case s.Env:
			if env == nil {
				// Masks whose path goes through a link are laid when all mounts are.
				argv, err = layLate(argv, steps)
				argv = append(argv, "--args", fmt.Sprint(envFD))
			}
			for _, a := range s.Args {
				env = append(append(env, a...), 0)
			}
		default:
			argv = append(argv, s.Args...)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return argv, env, nil
}

func layLate(argv []string, steps []Step) (_ []string, err error) {
	for _, s := range steps {
		if s.Mask == nil {
			continue
		}
		if argv, err = s.Mask.lay(argv, true); err != nil {
			return nil, err
		}
	}
	return argv, nil
}

// lay appends the options that hide what m matches here: in the first pass what is
// reached without a link, in the late one the rest, for which bubblewrap must be
// given the path itself.
func (m Mask) lay(argv []string, late bool) ([]string, error) {
	for _, file := range m.matches() {
		info, err := os.Stat(file)
		if err != nil || throughLink(file) != late {
			continue
		}
		prefix := m.Prefix
		if late {
			if file, prefix, err = resolve(file, prefix); err != nil {
				return nil, err
			}
		}
		rest, ok := strings.CutPrefix(file, prefix)
		switch {
		case !ok || rest != "" && rest[0] != '/':
		case info.IsDir():
			argv = append(argv, "--tmpfs", m.Target+rest)
		default:
			argv = append(argv, "--ro-bind", "/dev/null", m.Target+rest)
		}
	}
	return argv, nil
}

func resolve(file, prefix string) (string, string, error) {
	f, err := filepath.EvalSymlinks(file)
	if err == nil && prefix != "" {
		prefix, err = filepath.EvalSymlinks(prefix)
	}
	if err != nil {
		return "", "", fmt.Errorf("bowline: cannot resolve a hidden path")
	}
	return f, prefix, nil
}

// throughLink reports whether file or a directory above it is a symbolic link.
func throughLink(file string) bool {
	for p := file; p != "" && p != "/"; p = path.Dir(p) {
		if info, err := os.Lstat(p); err == nil && info.Mode()&os.ModeSymlink != 0 {
			return true
		}
	}
	return false
}

// matches expands the "*" of the source as sh does (POSIX, 2.13.3): within one
// name, names that begin with a dot only if the pattern does.
func (m Mask) matches() []string {
	if !strings.Contains(m.Source, "*") {
		return []string{m.Source}
	}
	found := []string{"/"}
	for _, part := range components(m.Source) {
		var next []string
		for _, dir := range found {
			next = append(next, expand(dir, part)...)
		}
		found = next
	}
	return found
}

func expand(dir, part string) []string {
	if !strings.Contains(part, "*") {
		return []string{path.Join(dir, part)}
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1) // what cannot be listed cannot be matched
	slices.Sort(names)
	var found []string
	for _, name := range names {
		if star(part, name) && (name[0] != '.' || part[0] == '.') {
			found = append(found, path.Join(dir, name))
		}
	}
	return found
}

// checkNUL refuses what cannot be an argument, with the words of [Quote].
func checkNUL(spec Spec, steps []Step) error {
	args := slices.Clone(spec.Argv)
	for _, s := range steps {
		args = append(args, s.Args...)
	}
	for _, a := range args {
		if strings.Contains(a, "\x00") {
			return diag.New(diag.Usage, "prepare command", "", "argument %q contains NUL", a)
		}
	}
	return nil
}
