// Package change holds the difference between two states of a file tree: what a
// path was, and what it shall be. It is pure; reading trees and writing them is
// done by packages overlay and apply on the target.
//
// # Invariants
//
//   - A path is absolute, slash-separated, clean, and any bytes but NUL.
//   - A Changeset has each path once and is in canonical order, see [Sort].
//   - Before and After of one change are never the same.
package change

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Type is what a path is. "" means that there is nothing.
type Type string

const (
	None    Type = ""
	File    Type = "file"
	Dir     Type = "dir"
	Symlink Type = "symlink"
	Fifo    Type = "fifo"
	Char    Type = "char"
	Block   Type = "block"
	Socket  Type = "socket" // seen in a base state; never made
)

// State is everything Bowline keeps of a path. The zero State is an absent path.
// A digest of content stands for the content; the bytes are kept elsewhere.
type State struct {
	Type   Type   `json:"type,omitempty"`
	Mode   uint32 `json:"mode,omitempty"` // permission, setuid, setgid and sticky bits; 0 for symlinks
	UID    uint32 `json:"uid,omitempty"`
	GID    uint32 `json:"gid,omitempty"`
	Size   int64  `json:"size,omitempty"`   // bytes of a file
	SHA256 string `json:"sha256,omitempty"` // of a file's content, 64 lower-case hex digits
	Target Path   `json:"target,omitempty"` // of a symlink; any bytes
	Major  uint32 `json:"major,omitempty"`  // of a device
	Minor  uint32 `json:"minor,omitempty"`
	// MTime is the modification time in nanoseconds since 1970. In an After
	// state 0 means "when it is applied": the script did not choose it.
	MTime  int64             `json:"mtime,omitempty"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"` // ACLs and capabilities are among them
	NLink  uint32            `json:"nlink,omitempty"`  // of a file in a base state, if more than one
}

// Absent reports whether there is nothing.
func (s State) Absent() bool { return s.Type == None }

// Same reports whether two states are the same for plan and conflict: type,
// mode, owner, content, target, device and xattrs. Times do not count, nor do
// size and links of directories.
func (s State) Same(o State) bool {
	if s.Type != o.Type {
		return false
	}
	if s.Type == None {
		return true
	}
	return s.Mode == o.Mode && s.UID == o.UID && s.GID == o.GID && s.SHA256 == o.SHA256 && s.Target == o.Target &&
		s.Major == o.Major && s.Minor == o.Minor && maps.EqualFunc(s.Xattrs, o.Xattrs, slices.Equal[[]byte])
}

// Path is a path of any bytes. As JSON it is a string; one that is not UTF-8 is
// "base64:" and its bytes (a path begins with "/", a link target that begins
// with "base64:" is encoded too).
type Path string

const encoded = "base64:"

// MarshalText implements [encoding.TextMarshaler].
func (p Path) MarshalText() ([]byte, error) {
	if utf8.ValidString(string(p)) && !strings.HasPrefix(string(p), encoded) {
		return []byte(p), nil
	}
	return []byte(encoded + base64.StdEncoding.EncodeToString([]byte(p))), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Path) UnmarshalText(b []byte) error {
	rest, ok := strings.CutPrefix(string(b), encoded)
	if !ok {
		*p = Path(b)
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	*p = Path(raw)
	return nil
}

// Valid reports why p cannot be the path of a change, or nil.
func (p Path) Valid() error {
	s := string(p)
	switch {
	case !path.IsAbs(s) || s == "/":
		return fmt.Errorf("path %q is not below /", s)
	case path.Clean(s) != s:
		return fmt.Errorf("path %q is not clean", s)
	case strings.Contains(s, "\x00"):
		return fmt.Errorf("path %q contains NUL", s)
	case len(s) > 4095:
		return fmt.Errorf("path of %d bytes is longer than PATH_MAX", len(s))
	}
	return nil
}

// Change is one path of a changeset.
type Change struct {
	Path   Path  `json:"path"`
	Before State `json:"before,omitzero"`
	After  State `json:"after,omitzero"`
	// Link, if set, is another path that this one shall be a hard link to when
	// all changes of the changeset are done; After is the state of both. A
	// change with a Link comes after that path's own change, if it has one.
	Link Path `json:"link,omitempty"`
	// InPlace says that the inode stays the same, so that other hard links to
	// it (Before.NLink > 1) change with it. Where it is not set the path gets a
	// new inode.
	InPlace bool `json:"in_place,omitempty"`
}

// Kind is a change in one word, for people and policies.
type Kind string

const (
	Create   Kind = "create"
	Modify   Kind = "modify"   // of content, with or without metadata
	Metadata Kind = "metadata" // mode, owner, xattrs or time alone
	Delete   Kind = "delete"
	Replace  Kind = "replace" // by another type
)

// Kind says what the change does.
func (c Change) Kind() Kind {
	switch {
	case c.Before.Absent():
		return Create
	case c.After.Absent():
		return Delete
	case c.Before.Type != c.After.Type:
		return Replace
	case c.Before.SHA256 != c.After.SHA256 || c.Before.Target != c.After.Target ||
		c.Before.Major != c.After.Major || c.Before.Minor != c.After.Minor || c.Link != "":
		return Modify
	default:
		return Metadata
	}
}

// Valid reports the first rule that c breaks, or nil.
func (c Change) Valid() error {
	if err := c.Path.Valid(); err != nil {
		return err
	}
	for _, s := range []State{c.Before, c.After} {
		if err := s.valid(); err != nil {
			return fmt.Errorf("%q: %w", c.Path, err)
		}
	}
	if c.After.Type == Socket {
		return fmt.Errorf("%q: a socket cannot be made", c.Path)
	}
	if c.Link != "" {
		if err := c.Link.Valid(); err != nil {
			return fmt.Errorf("%q: link: %w", c.Path, err)
		}
		if c.Link == c.Path || c.After.Absent() || c.After.Type == Dir {
			return fmt.Errorf("%q cannot be a hard link to %q", c.Path, c.Link)
		}
	} else if c.Before.Same(c.After) && (c.After.MTime == 0 || c.After.MTime == c.Before.MTime) {
		return fmt.Errorf("%q does not change", c.Path)
	}
	return nil
}

func (s State) valid() error {
	switch s.Type {
	case None, Dir, Fifo, Socket, Char, Block:
	case File:
		if len(s.SHA256) != 64 || strings.Trim(s.SHA256, "0123456789abcdef") != "" || s.Size < 0 {
			return fmt.Errorf("a file without its digest")
		}
		if s.Mode&^0o7777 != 0 {
			return fmt.Errorf("mode %o", s.Mode)
		}
		return nil
	case Symlink:
		if s.Target == "" || strings.Contains(string(s.Target), "\x00") {
			return fmt.Errorf("a symlink without target")
		}
	default:
		return fmt.Errorf("unknown type %q", s.Type)
	}
	if s.SHA256 != "" || s.Mode&^0o7777 != 0 {
		return fmt.Errorf("a %s with content or odd mode", s.Type)
	}
	return nil
}

// Changeset is the difference between two states of a tree, in canonical order.
type Changeset []Change

// Sort puts changes into canonical order: first what goes away (deletions, and
// nothing else), the deepest first; then the rest by path, parents before
// children, except that a hard link to another changed path follows it.
func Sort(cs Changeset) {
	slices.SortFunc(cs, func(a, b Change) int {
		da, db := a.After.Absent(), b.After.Absent()
		switch {
		case da && !db:
			return -1
		case db && !da:
			return 1
		case da:
			return -ComparePaths(a.Path, b.Path)
		}
		return cmp.Or(cmp.Compare(boolInt(a.Link != ""), boolInt(b.Link != "")), ComparePaths(a.Path, b.Path))
	})
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ComparePaths orders paths so that a parent comes before its children and
// siblings by their bytes: "/" sorts before every other byte.
func ComparePaths(a, b Path) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

// Valid reports the first rule that cs breaks, or nil.
func (cs Changeset) Valid() error {
	seen := make(map[Path]bool, len(cs))
	for _, c := range cs {
		if err := c.Valid(); err != nil {
			return err
		}
		if seen[c.Path] {
			return fmt.Errorf("%q stands twice", c.Path)
		}
		seen[c.Path] = true
	}
	sorted := slices.Clone(cs)
	Sort(sorted)
	if !slices.EqualFunc(cs, sorted, func(a, b Change) bool { return a.Path == b.Path }) {
		return fmt.Errorf("changes are not in order")
	}
	return nil
}
