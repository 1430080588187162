//go:build linux

package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/safepath"
)

// Version of the manifest.
//
//	1  first
const Version = 1

// Entry is one path as it was.
type Entry struct {
	Path  change.Path  `json:"path"`
	State change.State `json:"state,omitzero"` // zero: there was nothing
	ID    safepath.ID  `json:"id,omitzero"`
	// Blob says that the content is kept. It is not where only metadata changes.
	Blob bool `json:"blob,omitempty"`
	// Parent says that the path is not changed itself; it holds something that is,
	// and its time must come back.
	Parent bool `json:"parent,omitempty"`
	// Handle leads back to an inode with several links even when all of them that
	// the plan knows are gone.
	Handle string `json:"handle,omitempty"`
	// Err says why it could not be looked at: a parent became a symbolic link.
	Err error `json:"-"`
}

// Manifest lists everything a plan touches, in the order of change.ComparePaths.
type Manifest struct {
	Version int     `json:"version"`
	Session string  `json:"session"`
	Plan    string  `json:"plan"` // its digest
	Entries []Entry `json:"entries"`
}

// Want is a path to be kept.
type Want struct {
	Path    change.Path
	Content bool // with content, if it is a file
}

// Look takes the state of every wanted path and of all their parents. Nothing is
// written. Contents of wanted files are hashed.
func Look(ctx context.Context, root *safepath.Root, wants []Want) ([]Entry, error) {
	all := map[change.Path]Entry{}
	for _, w := range wants {
		for p := path.Dir(string(w.Path)); ; p = path.Dir(p) {
			if _, seen := all[change.Path(p)]; seen {
				break
			}
			all[change.Path(p)] = Entry{Path: change.Path(p), Parent: true}
			if p == "/" {
				break
			}
		}
	}
	for _, w := range wants {
		all[w.Path] = Entry{Path: w.Path, Blob: w.Content}
	}
	out := make([]Entry, 0, len(all))
	for _, e := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, err := root.Stat(e.Path, !e.Parent)
		if errors.Is(err, safepath.ErrSymlink) {
			e.Err, err = err, nil
		}
		if err != nil {
			return nil, err
		}
		e.State, e.ID = info.State, info.ID
		e.Blob = e.Blob && e.State.Type == change.File
		if e.State.NLink > 1 {
			e.Handle, err = handle(root, e.Path)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int { return change.ComparePaths(a.Path, b.Path) })
	return out, nil
}

func handle(root *safepath.Root, p change.Path) (string, error) {
	d, name, err := root.Parent(p)
	if err != nil {
		return "", err
	}
	defer d.Close()
	n, err := d.Node(name)
	if err != nil {
		return "", err
	}
	defer n.Close()
	return n.Handle(), nil
}

const manifest = "manifest.json"

// Create keeps the contents of all entries that want it in dir, which is emptied
// first, and seals them with a manifest. It returns the digest of the manifest.
// When it fails, dir holds no manifest and nothing else was touched.
func Create(ctx context.Context, dir *safepath.Dir, root *safepath.Root, m Manifest) (string, error) {
	if err := Clear(dir); err != nil {
		return "", err
	}
	done := map[string]bool{}
	for _, e := range m.Entries {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if !e.Blob || done[e.State.SHA256] {
			continue
		}
		if err := keep(dir, root, e); err != nil {
			return "", fmt.Errorf("keep %q: %w", string(e.Path), err)
		}
		done[e.State.SHA256] = true
	}
	if len(done) > 0 {
		if err := dir.SyncFS(); err != nil {
			return "", err
		}
	}
	m.Version = Version
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("seal checkpoint: %w", err)
	}
	return digest(b), dir.WriteFile(manifest, b)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ErrChanged means that a file changed between looking at it and keeping it.
var ErrChanged = errors.New("it changed while it was read")

func keep(dir *safepath.Dir, root *safepath.Root, e Entry) error {
	d, name, err := root.Parent(e.Path)
	if err != nil {
		return err
	}
	defer d.Close()
	src, err := d.Read(name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := dir.Create(e.State.SHA256)
	if err != nil {
		return err
	}
	sum, _, err := safepath.Copy(dst, src)
	if err == nil && sum != e.State.SHA256 {
		err = ErrChanged
	}
	return errors.Join(err, dst.Close())
}

// Clear removes everything from dir, the manifest first.
func Clear(dir *safepath.Dir) error {
	names, err := dir.Names()
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(b, a) }) // "manifest" sorts after hex digits
	for _, name := range names {
		if err := dir.Unlink(name); err != nil {
			return err
		}
	}
	return nil
}

// ErrTampered means that the checkpoint is not what was sealed.
var ErrTampered = errors.New("the checkpoint was altered")

// maxManifest bounds memory: about a million entries.
const maxManifest = 1 << 30

// Open reads the manifest and checks it against the digest noted elsewhere.
func Open(dir *safepath.Dir, want string) (Manifest, error) {
	b, err := dir.ReadFile(manifest, maxManifest)
	if err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrTampered, err)
	}
	if digest(b) != want {
		return Manifest{}, fmt.Errorf("%w: its manifest is another", ErrTampered)
	}
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("read checkpoint: %w", err)
	}
	if m.Version != Version {
		return Manifest{}, fmt.Errorf("checkpoint version %d; this program knows %d", m.Version, Version)
	}
	return m, nil
}

// Verify reads every kept content and compares it with its name.
func Verify(ctx context.Context, dir *safepath.Dir, m Manifest) error {
	seen := map[string]bool{}
	for _, e := range m.Entries {
		if !e.Blob || seen[e.State.SHA256] {
			continue
		}
		seen[e.State.SHA256] = true
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := VerifyBlob(dir, e.State.SHA256); err != nil {
			return fmt.Errorf("%w: %w", ErrTampered, err)
		}
	}
	return nil
}

// VerifyBlob reads a file that is named by its digest.
func VerifyBlob(dir *safepath.Dir, sha string) error {
	info, err := dir.Stat(sha, true)
	if err != nil {
		return err
	}
	if info.Type != change.File {
		return fmt.Errorf("content %s is missing: %w", sha, unix.ENOENT)
	}
	if info.SHA256 != sha {
		return fmt.Errorf("content %s has digest %s", sha, info.SHA256)
	}
	return nil
}

// Blob opens a kept content. Whoever copies it checks the digest again.
func Blob(dir *safepath.Dir, sha string) (*os.File, error) { return dir.Read(sha) }
