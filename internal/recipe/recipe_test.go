package recipe

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bowline-sh/bowline/diag"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	find := func(r Request) string {
		t.Helper()
		r.Worktree = dir
		got, err := Find(r)
		if err != nil {
			return string(diag.KindOf(err))
		}
		rel, _ := filepath.Rel(dir, got.File)
		return rel
	}
	// Each is found before those that were there.
	if got, err := Find(Request{Worktree: dir}); err != nil || got.File != "" || !bytes.Equal(got.Build.Containerfile, BuiltIn) || !strings.Contains(string(BuiltIn), "openssh-server git sudo ca-certificates curl") {
		t.Errorf("%+v, %v", got, err)
	}
	if got := find(Request{Devcontainer: true}); got != string(diag.Usage) {
		t.Error(got)
	}
	for _, name := range []string{".devcontainer/Dockerfile", ".devcontainer/Containerfile", ".devcontainer.json", ".devcontainer/devcontainer.json", "Containerfile", ".bowline/Containerfile"} {
		write(t, dir, map[string]string{name: `{"image": "i"}`})
		if got := find(Request{}); got != name {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if got := find(Request{Devcontainer: true}); got != ".devcontainer/devcontainer.json" {
		t.Error(got)
	}
	if got := find(Request{File: filepath.Join(dir, "none")}); got != string(diag.Usage) {
		t.Error(got)
	}
}

func TestDevcontainer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	read := func(text string) (Recipe, error) {
		write(t, dir, map[string]string{".devcontainer.json": text, "D": "FROM x\n"})
		return Find(Request{Worktree: dir})
	}
	sh := func(line string) []Command { return []Command{{Argv: []string{"/bin/sh", "-c", line}}} }
	for _, tt := range []struct {
		text string
		want Recipe
		err  string
	}{
		{"// comment\n{\"image\": \"a\", /* b */ \"name\": \"x\",}", Recipe{Image: "a"}, ""},
		{`{"image": "${localEnv:IMAGE}"}`, Recipe{}, "depends on the machine"},
		{`{"dockerComposeFile": "c.yml"}`, Recipe{}, "Compose"},
		{`{"image": 3}`, Recipe{}, "image"},
		{`{"image": "a", "remoteUser": "root"}`, Recipe{Image: "a", Notes: []string{"remoteUser root is left out: the account of a box is an ordinary one"}}, ""},
		{`{"image": "a", "remoteUser": "me", "containerEnv": {"A": "${containerWorkspaceFolder}/x"}, "remoteEnv": {"B": "${localWorkspaceFolderBasename}", "P": "${containerEnv:PATH}:/x", "N": null}}`,
			Recipe{Image: "a", User: "me", Env: map[string]string{"A": "/workspace/project/x", "B": "shop"}, Notes: []string{"remoteEnv N is left out: null takes nothing away here", "remoteEnv P is left out: ${containerEnv:PATH} is nothing that a box knows"}}, ""},
		{`{"image": "a", "postCreateCommand": "make"}`, Recipe{Image: "a", Post: sh("make")}, ""},
		{`{"image": "a", "postCreateCommand": ["make", "a b"]}`, Recipe{Image: "a", Post: []Command{{Argv: []string{"make", "a b"}}}}, ""},
		{`{"image": "a", "postCreateCommand": {"z": "one", "b": ["two"]}}`, Recipe{Image: "a", Post: []Command{{"b", []string{"two"}}, {"z", []string{"/bin/sh", "-c", "one"}}}}, ""},
		{`{"image": "a", "postCreateCommand": "echo ${localEnv:HOME}"}`, Recipe{Image: "a", Notes: []string{"the command /bin/sh -c echo ${localEnv:HOME} is left out: ${localEnv:...} is nothing that a box knows"}}, ""},
		{`{"image": "a", "postCreateCommand": {"z": 3}}`, Recipe{}, "neither a line nor a list"},
		{`{"image": "a", "mounts": [{"source": "c", "target": "/c", "type": "volume"}, "src=d,dst=/etc,type=volume", "source=../e,target=/e,type=volume"]}`,
			Recipe{Image: "a", Volumes: []Volume{{"c", "/c"}}, Notes: []string{
				"the mount src=d,dst=/etc,type=volume is left out: it needs a name, and a place outside of the system's and the box's own",
				"the mount source=../e,target=/e,type=volume is left out: it needs a name, and a place outside of the system's and the box's own"}}, ""},
		{`{"image": "a", "forwardPorts": [80, "db:5432"]}`, Recipe{Image: "a", Ports: []string{"80"}, Notes: []string{"forwardPorts db:5432 is left out: it is no port of the box itself"}}, ""},
		{`{"image": "a", "privileged": true, "runArgs": ["--cap-add=ALL"], "postStartCommand": "x"}`, Recipe{Image: "a", Notes: []string{"postStartCommand is left out", "privileged is left out", "runArgs is left out"}}, ""},
		{`{"build": {"dockerfile": "D", "args": {"A": "b", "C": "${localEnv:C}"}, "target": "t"}}`,
			Recipe{Build: &Build{Containerfile: []byte("FROM x\n"), Context: dir, Path: "D", Args: map[string]string{"A": "b"}, Target: "t"}, Notes: []string{"build.args C is left out: ${localEnv:C} is nothing that a box knows"}}, ""},
		{`{"build": {"dockerfile": "none"}}`, Recipe{}, "none"},
		{strings.Repeat("[", 1000), Recipe{}, "nested"},
		{`{"image": "a"} x`, Recipe{}, "read devcontainer.json"},
		{`null`, Recipe{}, "names neither"},
	} {
		got, err := read(tt.text)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || diag.KindOf(err) != diag.Usage {
				t.Errorf("%s: %v, want %q", tt.text, err, tt.err)
			}
			continue
		}
		tt.want.File = filepath.Join(dir, ".devcontainer.json")
		if tt.want.Env == nil {
			tt.want.Env = map[string]string{}
		}
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", tt.text, err, d)
		}
	}
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	context := filepath.Join(dir, "context")
	write(t, dir, map[string]string{
		"outside/secret": "secret", "F": "FROM x\n",
		"context/.dockerignore": "not read\n", "context/.containerignore": "# comment\n*.log\nnode_modules\n!keep.log\nsub/**/deep\n", "context/a": "a", "context/b.log": "b", "context/keep.log": "k",
		"context/node_modules/x": "x", "context/sub/one/deep": "d", "context/sub/one/kept": "k", "context/Containerfile": "FROM y\n",
	})
	for name, to := range map[string]string{"in": "a", "abs": "/etc/passwd", "out": "../outside/secret", "dirout": "../outside"} {
		if err := os.Symlink(to, filepath.Join(context, name)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(b Build) (names []string, size Size) {
		t.Helper()
		var buf bytes.Buffer
		size, err := b.Archive(&buf)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(buf.Bytes(), []byte("secret\x00")) {
			t.Error("a file from outside was sent")
		}
		for r := tar.NewReader(&buf); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
		}
		slices.Sort(names)
		return names, size
	}
	inside := Build{Containerfile: []byte("FROM y\n"), Context: context, Path: "Containerfile"}
	names, size := read(inside)
	if d := cmp.Diff([]string{".containerignore", ".dockerignore", "Containerfile", "a", "abs", "in", "keep.log", "sub/", "sub/one/", "sub/one/kept"}, names); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(Size{Files: 6, Bytes: 7 + 51 + 9 + 3, Left: []string{"dirout", "out"}}, size); d != "" {
		t.Error(d)
	}
	elsewhere := inside
	elsewhere.Path = ""
	if names, _ := read(elsewhere); !slices.Contains(names, elsewhere.Name()) || !slices.Contains(names, "Containerfile") {
		t.Errorf("%q", names)
	}
	if _, err := (Build{Context: filepath.Join(dir, "none")}).Archive(io.Discard); diag.KindOf(err) != diag.Usage {
		t.Error(err)
	}
}
