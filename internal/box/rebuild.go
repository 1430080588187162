package box

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/recipe"
)

// Names of containers while a box is rebuilt.
func nextName(name string) string { return containerName(name) + ".next" }
func lastName(name string) string { return containerName(name) + ".last" }

// Change is what a rebuild changes. With neither an image nor a recipe the box gets the
// image that it has, as that now is.
type Change struct {
	Image  string         // another one
	Recipe *recipe.Recipe // what the box is made of from now on: image, variables, volumes, commands
	Said   io.Writer      // hears what a build and commands print, hostile text; optional
}

// apply returns the new spec. The account stays: the home is its.
func (c Change) apply(s Spec) Spec {
	s.Said = c.Said
	if c.Image != "" {
		s.Image = c.Image
	}
	if r := c.Recipe; r != nil {
		s.Image, s.Build, s.Post = cmp.Or(c.Image, r.Image), r.Build, r.Post
		s.Volumes = append(slices.Clone(s.Volumes), slices.DeleteFunc(slices.Clone(r.Volumes), func(v recipe.Volume) bool { return slices.Contains(s.Volumes, v) })...)
		s.Env = maps.Clone(s.Env)
		if s.Env == nil {
			s.Env = map[string]string{}
		}
		maps.Copy(s.Env, r.Env)
	}
	return s
}

// Rebuild gives a box a new container. Volumes, host key and limits stay. The old
// container runs until the new one is ready, and goes on if that fails; one that is
// published is stopped before, for both want its port, and started again.
func (s *Server) Rebuild(ctx context.Context, name string, c Change) (Box, error) {
	old, err := s.Get(ctx, name)
	if err != nil {
		return Box{}, err
	}
	res, err := s.api.ContainerInspect(ctx, old.ID, client.ContainerInspectOptions{})
	if err != nil {
		return Box{}, failed("look at container", err)
	}
	spec, err := specOf(res.Container.Config.Labels)
	if err != nil {
		return Box{}, err
	}
	key, err := s.hostKey(ctx, old.ID)
	if err != nil {
		return Box{}, err
	}
	spec = c.apply(spec)
	spec.made, spec.port = rand.Text(), old.Port
	var st steps
	b, err := s.replace(ctx, old, &spec, key, &st)
	if err != nil {
		if uerr := st.undo(ctx); uerr != nil {
			err = diag.New(diag.Partial, "take back the rebuild of "+name, "see what is left: 'bowline box prune'", "%w; because of: %w", uerr, err)
		}
		return Box{}, err
	}
	// The box is what it should be. An image that stays goes with the next rebuild, or with
	// the box.
	_ = s.removeOwnImages(context.WithoutCancel(ctx), name, spec.Image)
	return b, nil
}

// replace makes the new container beside the old one, changes their names, and removes the
// old one last. It returns the box as it is then.
func (s *Server) replace(ctx context.Context, old Box, spec *Spec, key HostKey, st *steps) (Box, error) {
	if err := s.image(ctx, spec, st); err != nil {
		return Box{}, err
	}
	for _, volume := range spec.volumes() {
		if err := s.volume(ctx, volume, *spec, st); err != nil {
			return Box{}, err
		}
	}
	id, err := s.swap(ctx, old, *spec, key, st)
	old.ID, old.Image, old.Status, old.HostKey = id, spec.Image, "running", key.Public
	return old, err
}

// swap puts the new container in the place of the old one.
func (s *Server) swap(ctx context.Context, old Box, spec Spec, key HostKey, st *steps) (id string, err error) {
	next := nextName(spec.Name)
	if spec.network, err = modeFor(s.of.Version, s.of.Rootless); err != nil {
		return "", err
	}
	if err := s.clearPort(ctx, old, spec, st); err != nil {
		return "", err
	}
	if err := s.container(ctx, next, spec, st); err != nil {
		return "", err
	}
	if err := s.ready(ctx, next, spec, key); err != nil {
		return "", err
	}
	if err := s.post(ctx, inside{next, spec.User}, spec); err != nil {
		return "", err
	}
	res, err := s.api.ContainerInspect(ctx, next, client.ContainerInspectOptions{})
	if err != nil {
		return "", failed("look at the new container", err)
	}
	id = res.Container.ID
	for _, c := range []struct{ id, from, to string }{{old.ID, containerName(old.Name), lastName(old.Name)}, {id, next, containerName(old.Name)}} {
		err := st.do(ctx, func(ctx context.Context) error { return s.rename(ctx, c.id, c.to) }, func(ctx context.Context) error { return s.rename(ctx, c.id, c.from) })
		if err != nil {
			return "", err
		}
	}
	err = s.removeContainer(ctx, old.ID)
	if err == nil {
		return id, nil
	}
	// It may be gone though the answer was lost; then the new one is the only one.
	_, gone := s.api.ContainerInspect(context.WithoutCancel(ctx), old.ID, client.ContainerInspectOptions{})
	switch {
	case errdefs.IsNotFound(gone):
		return id, nil
	case gone != nil:
		st.back = nil
		return "", diag.New(diag.Partial, "rebuild "+old.Name, "see what is left: 'bowline box prune'", "the new container runs, and whether the old one is gone is not known: %w", errors.Join(err, gone))
	}
	return "", err
}

// clearPort stops a container whose port the new one gets: two cannot have it.
func (s *Server) clearPort(ctx context.Context, old Box, spec Spec, st *steps) error {
	if spec.port == 0 || old.Status != "running" {
		return nil
	}
	return st.do(ctx, func(ctx context.Context) error { return s.stop(ctx, old.ID) }, func(ctx context.Context) error {
		_, err := s.api.ContainerStart(ctx, old.ID, client.ContainerStartOptions{})
		return failed("start the old container again", err)
	})
}

// rename gives a container a name. It is no error if it has that name already.
func (s *Server) rename(ctx context.Context, id, name string) error {
	res, err := s.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return failed("look at container", err)
	}
	if strings.TrimPrefix(res.Container.Name, "/") == name {
		return nil
	}
	_, err = s.api.ContainerRename(ctx, id, client.ContainerRenameOptions{NewName: name})
	return failed("rename container", err)
}

// maxKey bounds a private key, in bytes.
const maxKey = 16 << 10

// hostKey reads the key of a box out of its container, which may be stopped. It was made
// by us and root may have changed it there: what is not a key, or not the one that is
// pinned, is found out by ssh.
func (s *Server) hostKey(ctx context.Context, id string) (HostKey, error) {
	res, err := s.api.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: "/etc/bowline/host_key"})
	if err != nil {
		return HostKey{}, failed("read the host key of the box", err)
	}
	defer res.Content.Close()
	files := tar.NewReader(res.Content)
	head, err := files.Next()
	if err == nil && (head.Typeflag != tar.TypeReg || head.Size > maxKey) {
		err = errors.New("it is no file, or too large")
	}
	var pem []byte
	if err == nil {
		pem, err = io.ReadAll(io.LimitReader(files, maxKey))
	}
	if err != nil {
		return HostKey{}, failed("read the host key of the box", err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return HostKey{}, failed("read the host key of the box", fmt.Errorf("it is damaged: %w", err))
	}
	return HostKey{Public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), private: pem}, nil
}
