package recipe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tailscale/hujson"

	"github.com/bowline-sh/bowline/diag"
)

// Project is where a box has its worktree.
const Project = "/workspace/project"

// maxDepth bounds nesting: the parser recurses.
const maxDepth = 64

// object is a JSON object whose values are not read yet.
type object map[string]json.RawMessage

// reader reads a devcontainer.json, and notes what it leaves out.
type reader struct {
	worktree string // its name
	out      Recipe
}

// devcontainer reads one.
func (r Request) devcontainer(file string, data []byte) (Recipe, error) {
	doc, err := parse(data)
	if err != nil {
		return Recipe{}, diag.New(diag.Usage, "read devcontainer.json", "", "%s: %w", file, err)
	}
	d := &reader{worktree: filepath.Base(r.Worktree), out: Recipe{File: file, Env: map[string]string{}}}
	if r.Worktree == "" {
		d.worktree = filepath.Base(filepath.Dir(file))
	}
	if err := d.image(r, doc); err != nil {
		return Recipe{}, diag.New(diag.Usage, "read devcontainer.json", "", "%s: %w", file, err)
	}
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		if err := d.field(key, doc[key]); err != nil {
			return Recipe{}, diag.New(diag.Usage, "read devcontainer.json", "", "%s: %s: %w", file, key, err)
		}
	}
	return d.out, nil
}

// parse takes JSON with comments and trailing commas.
func parse(data []byte) (object, error) {
	depth := 0
	for _, c := range data { // brackets in strings count too, which only makes it stricter
		switch c {
		case '{', '[':
			if depth++; depth > maxDepth {
				return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
			}
		case '}', ']':
			depth--
		}
	}
	std, err := hujson.Standardize(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if err != nil {
		return nil, err
	}
	var doc object
	return doc, json.Unmarshal(std, &doc)
}

func (d *reader) note(format string, args ...any) {
	d.out.Notes = append(d.out.Notes, fmt.Sprintf(format, args...))
}

// image reads what the image is, with the older names of its fields.
func (d *reader) image(r Request, doc object) error {
	var b struct {
		Dockerfile string
		Context    string
		Args       map[string]string
		Target     string
	}
	if raw, ok := doc["build"]; ok {
		var fields object
		if err := json.Unmarshal(raw, &fields); err != nil {
			return fmt.Errorf("build: %w", err)
		}
		if err := json.Unmarshal(raw, &b); err != nil {
			return fmt.Errorf("build: %w", err)
		}
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			if !slices.Contains([]string{"dockerfile", "context", "args", "target"}, key) {
				d.note("build.%s is left out", key)
			}
		}
	}
	for key, to := range map[string]*string{"dockerFile": &b.Dockerfile, "context": &b.Context, "image": &d.out.Image} {
		if raw, ok := doc[key]; ok {
			if err := json.Unmarshal(raw, to); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	switch {
	case b.Dockerfile != "":
		return d.build(r, b.Dockerfile, b.Context, b.Target, b.Args)
	case d.out.Image == "":
		return errors.New("it names neither an image nor build.dockerfile; Compose files are not read")
	}
	d.out.Image = d.text("image", d.out.Image)
	if d.out.Image == "" {
		return errors.New("the image depends on the machine it was written on")
	}
	return nil
}

func (d *reader) build(r Request, file, context, target string, args map[string]string) error {
	d.out.Image = ""
	base := filepath.Dir(d.out.File)
	path := filepath.Join(base, filepath.FromSlash(file))
	data, err := readFile(path)
	if err != nil {
		return err
	}
	dir := filepath.Join(base, filepath.FromSlash(context))
	if r.Context != "" {
		dir = r.Context
	}
	if d.out.Build, err = newBuild(path, data, dir); err != nil {
		return err
	}
	d.out.Build.Target = target
	d.out.Build.Args = d.values("build.args", args)
	return nil
}

// quiet are fields that change nothing in a box, or that were read already.
var quiet = []string{"$schema", "name", "image", "build", "dockerFile", "context", "workspaceFolder", "customizations", "settings", "extensions", "overrideCommand", "updateRemoteUserUID", "shutdownAction", "waitFor", "init"}

func (d *reader) field(key string, raw json.RawMessage) error {
	switch {
	case slices.Contains(quiet, key):
		return nil
	case key == "remoteUser":
		return d.user(raw)
	case key == "containerEnv" || key == "remoteEnv":
		return d.env(key, raw)
	case key == "mounts":
		return d.mounts(raw)
	case key == "postCreateCommand":
		return d.post(raw)
	case key == "forwardPorts":
		return d.ports(raw)
	case key == "features":
		var list object
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(list)) {
			d.note("the feature %s is left out; install what it gives in the Containerfile", name)
		}
		return nil
	}
	d.note("%s is left out", key)
	return nil
}

func (d *reader) user(raw json.RawMessage) error {
	if err := json.Unmarshal(raw, &d.out.User); err != nil {
		return err
	}
	if d.out.User == "root" {
		d.out.User = ""
		d.note("remoteUser root is left out: the account of a box is an ordinary one")
	}
	return nil
}

func (d *reader) env(key string, raw json.RawMessage) error {
	var values map[string]*string
	if err := json.Unmarshal(raw, &values); err != nil {
		return err
	}
	given := map[string]string{}
	for name, v := range values {
		if v == nil {
			d.note("%s %s is left out: null takes nothing away here", key, name)
		} else if name == "" || strings.ContainsAny(name, "=\x00\n") || strings.ContainsRune(*v, 0) {
			return fmt.Errorf("%q is no variable", name)
		} else {
			given[name] = *v
		}
	}
	maps.Copy(d.out.Env, d.values(key, given))
	return nil
}

// values replaces variables, and leaves out what cannot be.
func (d *reader) values(key string, given map[string]string) map[string]string {
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		n := len(d.out.Notes)
		v := d.text(key+" "+name, given[name])
		if len(d.out.Notes) == n {
			out[name] = v
		}
	}
	return out
}

var variable = regexp.MustCompile(`\$\{[^}]*\}`)

// text replaces variables. With one that it does not know it returns "" and a note:
// above all those of the machine the file was written on.
func (d *reader) text(key, s string) string {
	bad := ""
	out := variable.ReplaceAllStringFunc(s, func(v string) string {
		switch v {
		case "${containerWorkspaceFolder}":
			return Project
		case "${containerWorkspaceFolderBasename}":
			return "project"
		case "${localWorkspaceFolderBasename}":
			return d.worktree
		case "${devcontainerId}":
			return "box"
		}
		bad = v
		return v
	})
	if bad != "" {
		d.note("%s is left out: %s is nothing that a box knows", key, bad)
		return ""
	}
	return out
}

func (d *reader) ports(raw json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, p := range list {
		var n int
		var s string
		if json.Unmarshal(p, &n) == nil && n > 0 && n < 1<<16 {
			d.out.Ports = append(d.out.Ports, fmt.Sprint(n))
		} else if json.Unmarshal(p, &s) == nil {
			d.note("forwardPorts %s is left out: it is no port of the box itself", s)
		} else {
			return fmt.Errorf("%s is no port", p)
		}
	}
	return nil
}

// validVolume is what a volume may be called.
var validVolume = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$`)

func (d *reader) mounts(raw json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, m := range list {
		fields, text, err := mountFields(m)
		if err != nil {
			return err
		}
		d.mount(fields, text)
	}
	return nil
}

// mountFields reads both forms of a mount, as an object and as "type=...,source=...".
func mountFields(raw json.RawMessage) (fields map[string]string, text string, err error) {
	fields = map[string]string{}
	if json.Unmarshal(raw, &text) == nil {
		for _, kv := range strings.Split(text, ",") {
			k, v, _ := strings.Cut(kv, "=")
			fields[strings.ToLower(strings.TrimSpace(k))] = v
		}
	} else {
		var any map[string]any
		if err := json.Unmarshal(raw, &any); err != nil {
			return nil, "", err
		}
		for k, v := range any {
			fields[strings.ToLower(k)] = fmt.Sprint(v)
		}
		text = string(raw)
	}
	for short, long := range map[string]string{"src": "source", "dst": "target", "destination": "target"} {
		if v, ok := fields[short]; ok {
			fields[long] = v
		}
	}
	return fields, text, nil
}

func (d *reader) mount(m map[string]string, text string) {
	if m["type"] != "volume" {
		d.note("the mount %s is left out: boxes are elsewhere, and have volumes of their own only", text)
		return
	}
	n := len(d.out.Notes)
	source, to := d.text("the mount "+text, m["source"]), d.text("the mount "+text, m["target"])
	if len(d.out.Notes) > n {
		return
	}
	if !validVolume.MatchString(source) || !cleanTarget(to) {
		d.note("the mount %s is left out: it needs a name, and a place outside of the system's and the box's own", text)
		return
	}
	if slices.ContainsFunc(d.out.Volumes, func(v Volume) bool { return v.Name == source || v.Target == to }) {
		d.note("the mount %s is left out: there is one of that name or place", text)
		return
	}
	d.out.Volumes = append(d.out.Volumes, Volume{source, to})
}

// cleanTarget accepts absolute paths that hide nothing that a box needs.
func cleanTarget(p string) bool {
	if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, ":,\x00\n") || filepath.ToSlash(filepath.Clean(p)) != p {
		return false
	}
	for _, taken := range []string{"/", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/sys", "/dev", "/run", "/tmp", "/home", "/workspace"} {
		if p == taken {
			return false
		}
	}
	for _, below := range []string{"/proc/", "/sys/", "/dev/", "/etc/bowline", "/run/"} {
		if strings.HasPrefix(p, below) {
			return false
		}
	}
	return true
}

// post reads postCreateCommand: a line for a shell, an argument vector, or an object of
// both by name.
func (d *reader) post(raw json.RawMessage) error {
	if argv, ok := d.command(raw); ok {
		if len(argv) > 0 {
			d.out.Post = []Command{{Argv: argv}}
		}
		return nil
	}
	var named object
	if err := json.Unmarshal(raw, &named); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		argv, ok := d.command(named[name])
		if !ok {
			return fmt.Errorf("%s is neither a line nor a list of arguments", name)
		}
		if len(argv) > 0 {
			d.out.Post = append(d.out.Post, Command{name, argv})
		}
	}
	return nil
}

// command reads one. Variables in it are left to the shell of the box, but for those
// of this format.
func (d *reader) command(raw json.RawMessage) (argv []string, ok bool) {
	var line string
	if json.Unmarshal(raw, &line) == nil {
		if line == "" {
			return nil, true
		}
		argv = []string{"/bin/sh", "-c", line}
	} else if json.Unmarshal(raw, &argv) != nil {
		return nil, false
	}
	if slices.ContainsFunc(argv, func(a string) bool { return strings.Contains(a, "${localEnv:") }) {
		d.note("the command %s is left out: ${localEnv:...} is nothing that a box knows", strings.Join(argv, " "))
		return nil, true
	}
	for i := range argv {
		argv[i] = d.words(argv[i])
	}
	return argv, true
}

// words replaces the variables of this format that a box knows; a shell has others.
func (d *reader) words(s string) string {
	return strings.NewReplacer("${containerWorkspaceFolder}", Project, "${containerWorkspaceFolderBasename}", "project", "${localWorkspaceFolderBasename}", d.worktree).Replace(s)
}
