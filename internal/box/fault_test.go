package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/podman"
	"github.com/bowline-sh/bowline/internal/recipe"
	"github.com/bowline-sh/bowline/internal/sshentry"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// faulty is an API whose n-th request fails: it is refused, or done and the answer lost.
// Answers are lost of requests that change something; others are asked again.
type faulty struct {
	fail int // counts down; fails at 0
	lost bool
	what string // the request that failed
	cut  atomic.Bool
}

func (f *faulty) hook(r *http.Request) error {
	if f.lost && r.Method == http.MethodGet {
		return nil
	}
	f.fail--
	if f.fail != -1 {
		return nil
	}
	f.what = r.Method + " " + r.URL.Path
	if !f.lost {
		return errors.New("injected: refused")
	}
	f.cut.Store(true)
	return nil
}

// lossy loses what it reads when an answer is to be lost.
type lossy struct {
	net.Conn
	f *faulty
}

func (l lossy) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if l.f.cut.CompareAndSwap(true, false) {
		return 0, errors.Join(errors.New("injected: lost"), l.Close())
	}
	return n, err
}

func (l lossy) CloseWrite() error { return l.Conn.(client.CloseWriter).CloseWrite() }

// apis returns what makes clients of one Podman.
func apis(t *testing.T) func(f *faulty) *Server {
	t.Helper()
	s := testkit.PodmanHost(t)
	known := s.KnownHostsFile(t)
	pool := link.NewPool(func(ctx context.Context, to target.Target) (transport.Conn, error) {
		return ssh.Dial(ctx, to, ssh.Config{KnownHosts: []string{known}, SSHConfig: "none", AgentSocket: "none"})
	}, nil)
	t.Cleanup(func() { _ = pool.Close() })
	l, err := pool.Get(t.Context(), target.Target{Name: "p", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Release)
	p, err := podman.Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(f *faulty) *Server {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := l.Dial(ctx, "unix", p.Socket)
			return lossy{conn, f}, err
		}
		api, err := client.New(client.WithHost("http://podman"), client.WithAPIVersion("1.41"), client.WithDialContext(dial), client.WithHTTPRequestHook(f.hook))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = api.Close() })
		return NewServer(api, Podman{Version: p.Version, Rootless: p.Rootless})
	}
}

// inventory is all that Podman has: names of containers with their states, and volumes.
func inventory(t *testing.T, s *Server) []string {
	t.Helper()
	containers, err := s.api.ContainerList(t.Context(), client.ContainerListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := s.api.VolumeList(t.Context(), client.VolumeListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, c := range containers.Items {
		out = append(out, fmt.Sprintf("%s %s %s", strings.Join(c.Names, " "), c.State, c.ID))
	}
	for _, v := range volumes.Items {
		out = append(out, v.Name)
	}
	images, err := s.api.ImageList(t.Context(), client.ImageListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images.Items {
		if len(i.RepoTags) != 1 || i.RepoTags[0] != testkit.BoxImage {
			out = append(out, "image "+strings.Join(i.RepoTags, " ")+" "+i.ID)
		}
	}
	slices.Sort(out)
	return out
}

// full runs all faults; else every third one, which is quicker.
func full() bool { return os.Getenv("BOWLINE_BOXES") == "full" }

// stride is how far faults are from each other.
func stride() int {
	if full() {
		return 1
	}
	return 3
}

// maxFaults bounds how many requests there are.
const maxFaults = 90

// TestFaults fails requests of create and rebuild, before they are done and after.
func TestFaults(t *testing.T) {
	api := apis(t)
	good := api(&faulty{fail: -1})
	home := t.TempDir()
	tree := filepath.Join(home, "src")
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", tree}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	git("init", "-q")
	b := &Boxes{Config{Laptop: Laptop{Entries: sshentry.Files{Dir: filepath.Join(home, "config"), Home: home}, Program: "/usr/bin/bowline"}}}
	spec := Spec{Name: "f", Owner: "ann@laptop", Keys: []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n")}
	dots := filepath.Join(home, "dots")
	if err := errors.Join(os.Mkdir(dots, 0o700), os.WriteFile(filepath.Join(dots, ".dot"), []byte("dot\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	spec = spec.With(madeOf("one"))
	create := func(s *Server) (Box, error) {
		if err := spec.check(); err != nil {
			t.Fatal(err)
		}
		steps, err := b.outside(t.Context(), target.Target{Name: "p", Kind: target.SSH, Host: "h"}, spec, Outside{Worktree: tree, Dotfiles: Dotfiles{Dir: dots}}, &Made{})
		if err != nil {
			t.Fatal(err)
		}
		return s.Create(t.Context(), spec, steps...)
	}
	for _, lost := range []bool{false, true} {
		spec.Publish = lost // one way each
		// A volume that was kept on purpose.
		kept := []string{workVolume("f")}
		if _, err := good.api.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: kept[0], Labels: Spec{Name: "f", Owner: "ann@laptop", made: "before"}.labels()}); err != nil {
			t.Fatal(err)
		}
		var box Box
		for n := 0; ; n += stride() {
			if n > maxFaults {
				t.Fatal("create does not end")
			}
			f := &faulty{fail: n, lost: lost}
			var err error
			if box, err = create(api(f)); err == nil {
				if f.what == "" {
					t.Logf("create: %d requests, lost %v", n, lost)
					break
				}
				t.Fatalf("request %d, %s: the fault went unnoticed", n, f.what)
			}
			if got := inventory(t, good); !slices.Equal(got, kept) || diag.KindOf(err) == diag.Partial {
				t.Fatalf("request %d, %s, lost %v: left %q, error %v", n, f.what, lost, got, err)
			}
			if b.cfg.Laptop.Entries.Has("f.p") || git("remote") != "" {
				t.Fatalf("request %d, %s: an entry or remote is left: %s", n, f.what, git("remote"))
			}
		}
		if !b.cfg.Laptop.Entries.Has("f.p") || git("remote") != "f\n" {
			t.Error("no entry or remote")
		}
		rebuildFaults(t, api, good, box, lost)
		if err := good.Remove(t.Context(), "f", false); err != nil {
			t.Fatal(err)
		}
		if left := inventory(t, good); len(left) != 0 {
			t.Errorf("left after rm: %q", left)
		}
		git("remote", "remove", "f")
		if err := b.cfg.Laptop.Entries.Remove(t.Context(), "f.p"); err != nil {
			t.Fatal(err)
		}
	}
}

// madeOf is a recipe with all that one can have; word tells it from others.
func madeOf(word string) recipe.Recipe {
	return recipe.Recipe{
		Build:   &recipe.Build{Containerfile: []byte("FROM " + testkit.BoxImage + "\nRUN echo " + word + " >/made\n")},
		Volumes: []recipe.Volume{{Name: "own", Target: "/own"}},
		Post:    []recipe.Command{{Argv: []string{"sh", "-c", "cat /made >/own/made"}}},
	}
}

// withoutIDs is an inventory of which only kinds, names and states are left.
func withoutIDs(list []string) []string {
	out := []string{}
	for _, item := range list {
		words := strings.Fields(item)
		if words[0] == "image" {
			words = words[:1]
		}
		out = append(out, strings.Join(words[:min(len(words), 2)], " "))
	}
	slices.Sort(out)
	return out
}

// rebuildFaults: a rebuild that fails leaves the old container running, and nothing else.
func rebuildFaults(t *testing.T, api func(*faulty) *Server, good *Server, old Box, lost bool) {
	t.Helper()
	before := inventory(t, good)
	kinds := withoutIDs(before)
	var out bytes.Buffer
	if code, err := good.Exec(t.Context(), "f", ExecRequest{Argv: []string{"sh", "-c", "echo kept >file; echo kept >~/file"}, Stdout: &out, Stderr: &out}); err != nil || code != 0 {
		t.Fatal(code, err, out.String())
	}
	for n := 1; n < maxFaults; n += stride() {
		f := &faulty{fail: n, lost: lost}
		two := madeOf("two")
		got, err := api(f).Rebuild(t.Context(), "f", Change{Recipe: &two})
		if err != nil && slices.Equal(inventory(t, good), before) {
			continue
		}
		list := inventory(t, good)
		if err == nil && strings.Contains(f.what, "/images/") { // the image before is left, for the next rebuild
			before = list
			continue
		}
		if slices.Equal(list, before) || !slices.Equal(withoutIDs(list), kinds) || !strings.HasPrefix(list[0], "/bowline-f running ") {
			t.Fatalf("request %d, %s, lost %v: %q became %q, error %v", n, f.what, lost, before, list, err)
		}
		if err != nil {
			t.Fatalf("request %d, %s, lost %v: %v, and the new container runs", n, f.what, lost, err)
		}
		t.Logf("rebuild: %d requests, lost %v, last fault %q", n, lost, f.what)
		out.Reset()
		code, err := good.Exec(t.Context(), "f", ExecRequest{Argv: []string{"sh", "-c", "cat file ~/file ~/.dot /own/made /made ~/.ssh/authorized_keys"}, Stdout: &out, Stderr: &out})
		if err != nil || code != 0 || out.String() != "kept\nkept\ndot\ntwo\ntwo\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n" || got.HostKey != old.HostKey {
			t.Errorf("%d, %v, %q, %s", code, err, out.String(), got.HostKey)
		}
		return
	}
	t.Fatal("rebuild does not end")
}
