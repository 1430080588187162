package recipe

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bowline-sh/bowline/diag"
)

// Recipe is what a box is made of.
type Recipe struct {
	File  string // that it was read from; "" for the one that is built in
	Image string // that is used as it is; "" if Build is set
	Build *Build

	User    string            // account inside; "" if nothing is said
	Env     map[string]string // of the box
	Volumes []Volume
	Post    []Command // to be run in a new box
	Ports   []string  // of the box that its makers want forwarded, as they wrote them
	Notes   []string  // what was left out; hostile text
}

// Volume is a volume of the box's own.
type Volume struct{ Name, Target string }

// Command is a command and what it is called; its Name may be "".
type Command struct {
	Name string
	Argv []string
}

// String is what a command is called by.
func (c Command) String() string {
	if c.Name != "" {
		return c.Name
	}
	return strings.Join(c.Argv, " ")
}

// Build is an image to be built.
type Build struct {
	Containerfile []byte
	Context       string // directory; "" for none
	Path          string // of the Containerfile below Context, with slashes; "" if it is elsewhere
	Args          map[string]string
	Target        string // stage; "" for the last
}

// Sum is the SHA-256 of the Containerfile.
func (b Build) Sum() string {
	sum := sha256.Sum256(b.Containerfile)
	return hex.EncodeToString(sum[:])
}

// Request says where to look. Its zero value but for Worktree looks everywhere.
type Request struct {
	Worktree     string // "" for none
	File         string // a Containerfile, or a devcontainer.json; "" looks below Worktree
	Context      string // "" means Worktree, or what a devcontainer.json says
	Devcontainer bool   // nothing but a devcontainer.json will do
}

// BuiltIn is the Containerfile for worktrees that have none.
//
//go:embed Containerfile
var BuiltIn []byte

// maxFile bounds what is read of one, in bytes.
const maxFile = 1 << 20

// Places where a worktree has them, the first that is there counts.
var (
	containerfiles = []string{".bowline/Containerfile", "Containerfile"}
	devcontainers  = []string{".devcontainer/devcontainer.json", ".devcontainer.json", "devcontainer.json"}
	last           = []string{".devcontainer/Containerfile", ".devcontainer/Dockerfile"}
)

// Find reads the recipe that a request means.
func Find(r Request) (Recipe, error) {
	if r.File != "" {
		return r.read(r.File, strings.HasSuffix(r.File, ".json") || r.Devcontainer)
	}
	for _, group := range [][]string{containerfiles, devcontainers, last} {
		isJSON := strings.HasSuffix(group[0], ".json")
		for _, name := range group {
			path := filepath.Join(r.Worktree, filepath.FromSlash(name))
			if _, err := os.Stat(path); r.Worktree == "" || err != nil || r.Devcontainer && !isJSON {
				continue
			}
			return r.read(path, isJSON)
		}
	}
	if r.Devcontainer {
		return Recipe{}, diag.New(diag.Usage, "find devcontainer.json", "name it: '--file PATH'", "there is none in .devcontainer or at the root of the worktree")
	}
	out := Recipe{Build: &Build{Containerfile: BuiltIn}}
	if r.Context != "" {
		out.Build.Context = r.Context
	}
	return out, nil
}

func (r Request) read(path string, isJSON bool) (Recipe, error) {
	data, err := readFile(path)
	if err != nil {
		return Recipe{}, err
	}
	if isJSON {
		return r.devcontainer(path, data)
	}
	context := r.Context
	if context == "" {
		context = r.Worktree
	}
	if context == "" {
		context = filepath.Dir(path)
	}
	b, err := newBuild(path, data, context)
	return Recipe{File: path, Build: b}, err
}

// newBuild finds out whether the Containerfile is part of the context.
func newBuild(path string, data []byte, context string) (*Build, error) {
	if fi, err := os.Stat(context); err != nil || !fi.IsDir() {
		return nil, diag.New(diag.Usage, "find the context", "name a directory: '--context DIR'", "%s is no directory", context)
	}
	b := &Build{Containerfile: data, Context: context}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(context)
	if err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(root, abs); err == nil && filepath.IsLocal(rel) {
		b.Path = filepath.ToSlash(rel)
	}
	return b, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, diag.New(diag.Usage, "read the recipe", "name a file that is there: '--file PATH'", "%w", err)
		}
		return nil, diag.New(diag.Failure, "read the recipe", "", "%w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New("it is larger than 1 MiB")
	}
	if err != nil {
		return nil, diag.New(diag.Failure, "read the recipe", "", "%s: %w", path, err)
	}
	return data, nil
}
