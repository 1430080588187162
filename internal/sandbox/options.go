package sandbox

import (
	"errors"
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
	seen := sight(steps)
	for i, s := range steps {
		switch {
		case s.Mask != nil:
			for _, f := range seen[i] {
				if !f.linked {
					argv = s.Mask.lay(argv, f)
				}
			}
		case s.Env:
			if env == nil {
				// Masks whose path goes through a link are laid when all mounts are.
				if argv, err = layLinked(argv, steps, seen); err != nil {
					return nil, nil, err
				}
				argv = append(argv, "--args", fmt.Sprint(envFD))
			}
			for _, a := range s.Args {
				env = append(append(env, a...), 0)
			}
		default:
			argv = append(argv, s.Args...)
		}
	}
	return argv, env, nil
}

// sighted is something that a mask hides.
type sighted struct {
	file   string
	prefix string // that Target shows
	dir    bool
	linked bool // file is a symbolic link, or a directory above it is
}

// sight finds what is there of each mask, by its step.
func sight(steps []Step) map[int][]sighted {
	seen, links := map[int][]sighted{}, links{}
	for i, s := range steps {
		if s.Mask == nil {
			continue
		}
		for _, file := range s.Mask.matches() {
			info, err := os.Lstat(file)
			linked := err == nil && (info.Mode()&os.ModeSymlink != 0 || links.lead(path.Dir(file)))
			if linked {
				info, err = os.Stat(file)
			}
			if err == nil {
				seen[i] = append(seen[i], sighted{file, s.Mask.Prefix, info.IsDir(), linked})
			}
		}
	}
	return seen
}

// links remembers which directories are reached through a symbolic link.
type links map[string]bool

func (l links) lead(dir string) bool {
	if dir == "/" || dir == "." {
		return false
	}
	linked, known := l[dir]
	if !known {
		info, err := os.Lstat(dir)
		linked = err == nil && info.Mode()&os.ModeSymlink != 0 || l.lead(path.Dir(dir))
		l[dir] = linked
	}
	return linked
}

// lay appends the options that hide f.
func (m Mask) lay(argv []string, f sighted) []string {
	rest, ok := strings.CutPrefix(f.file, f.prefix)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return argv
	case f.dir:
		return append(argv, "--tmpfs", m.Target+rest)
	default:
		return append(argv, "--ro-bind", "/dev/null", m.Target+rest)
	}
}

// layLinked appends those that hide what is reached through a link: bubblewrap must
// be given the path itself.
func layLinked(argv []string, steps []Step, seen map[int][]sighted) ([]string, error) {
	for i, s := range steps {
		for _, f := range seen[i] {
			if !f.linked {
				continue
			}
			var err error
			if f.file, err = filepath.EvalSymlinks(f.file); err == nil && f.prefix != "" {
				f.prefix, err = filepath.EvalSymlinks(f.prefix)
			}
			if err != nil {
				return nil, errors.New("bowline: cannot resolve a hidden path")
			}
			argv = s.Mask.lay(argv, f)
		}
	}
	return argv, nil
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
