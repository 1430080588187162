// Package foreign reads the configuration files of the systems that Bowline follows:
// Shannot's config.toml, with its older [executor.NAME] tables and its newer
// [remotes.NAME], L8s' config.yaml, and the remote executor's config.yml with vms. It
// turns bytes into targets, and says of everything else in the file, line by line, why it
// does not come along. It does no I/O.
//
// # Invariants
//
//   - Every key of the file became part of a target, or has a note.
//   - No value of a key that may be secret is in a note.
//   - A target is valid as it is returned. What the old system did not check
//     (host keys, modes of key files) is not weakened for it.
//   - What a file may make us do is bounded: bytes, depth, values with aliases
//     expanded, targets, notes.
package foreign

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/bowline-sh/bowline/target"
)

// System is where a file comes from.
type System string

const (
	Shannot        System = "shannot"
	L8s            System = "l8s"
	RemoteExecutor System = "remote-executor"
)

// Bounds of a file.
const (
	MaxSize    = 1 << 20 // bytes
	maxNodes   = 20_000  // values, those of aliases counted each time
	maxDepth   = 32
	maxNesting = 256 // brackets open at once, before anything is parsed
	maxTargets = 5_000
	maxNotes   = 1_000
)

// Target is a target of the file and where it stands.
type Target struct {
	target.Target
	Line int
}

// Note says what does not come along, or comes along changed.
type Note struct {
	Line int    // 0 if it is about the whole file
	Key  string // dotted; hostile text; "" if Line is 0
	Text string
}

// Result is what a file holds.
type Result struct {
	System  System
	Targets []Target
	Default string // target that the old system used if none was named; "" if none
	Notes   []Note // in order of lines
	Omitted int    // notes beyond maxNotes
}

// Options are what a file alone does not say. All are optional.
type Options struct {
	Exists       func(path string) bool // is there such a file on this machine; "~/" is the home
	KnownProfile func(name string) bool // is there a profile of ours of that name
}

// Read reads a file. An error means that it is none of the systems', or broken.
func Read(data []byte, o Options) (Result, error) {
	if o.Exists == nil {
		o.Exists = func(string) bool { return false }
	}
	if o.KnownProfile == nil {
		o.KnownProfile = func(string) bool { return false }
	}
	if err := check(data); err != nil {
		return Result{}, err
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // a byte order mark
	root, tomlErr := fromTOML(data)
	if errors.Is(tomlErr, errBound) {
		return Result{}, tomlErr
	}
	if tomlErr != nil {
		var yamlErr error
		if root, yamlErr = fromYAML(data); errors.Is(yamlErr, errBound) {
			return Result{}, yamlErr
		} else if yamlErr != nil {
			return Result{}, broken(data, tomlErr, yamlErr)
		}
	}
	r := reader{o: o}
	switch {
	case root.kind != mapping || len(root.keys) == 0:
		return Result{}, errNone
	case root.get("targets") != nil:
		return Result{}, errors.New("it looks like a configuration of Bowline itself; copy its tables")
	case root.get("executor") != nil || root.get("remotes") != nil || root.get("default_executor") != nil:
		r.shannot(root)
	case root.get("vms") != nil || root.get("remote_execution") != nil:
		r.remoteExecutor(root)
	case root.get("connections") != nil || root.get("active_connection") != nil || root.get("hosts") != nil || root.get("remote_host") != nil || root.get("remote_user") != nil:
		r.l8s(root)
	default:
		return Result{}, errNone
	}
	if len(r.res.Targets) > maxTargets {
		return Result{}, fmt.Errorf("it has %d targets, more than %d", len(r.res.Targets), maxTargets)
	}
	r.sort()
	return r.res, nil
}

var errNone = errors.New("it is none of the files that can be read: Shannot's config.toml ([executor.NAME] or [remotes.NAME]), L8s' config.yaml (connections), the remote executor's config.yml (vms)")

// check refuses what need not be parsed to be refused.
func check(data []byte) error {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return errors.New("it is empty")
	case len(data) > MaxSize:
		return fmt.Errorf("it has more than %d bytes", MaxSize)
	case bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data):
		return errors.New("it is not text in UTF-8")
	}
	open := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			if open++; open > maxNesting {
				return fmt.Errorf("more than %d brackets are open at once", maxNesting)
			}
		case ']', '}':
			open = max(open-1, 0)
		}
	}
	return nil
}

// broken says what is wrong in the language that the file is likely in.
func broken(data []byte, tomlErr, yamlErr error) error {
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			return fmt.Errorf("it cannot be read as TOML: %w", tomlErr)
		}
		if line != "" && line[0] != '#' {
			break
		}
	}
	return fmt.Errorf("it cannot be read, neither as YAML (%w) nor as TOML (%w)", yamlErr, tomlErr)
}
