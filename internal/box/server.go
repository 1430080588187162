package box

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/bowline-sh/bowline/diag"
)

// Server is the boxes of one Podman. Methods may be called concurrently.
type Server struct {
	api *client.Client
	of  Podman
}

// Podman is what must be known of one.
type Podman struct {
	Version  string // as in 4.3.1; hostile text
	Socket   string // path on the target
	Rootless bool   // it runs as an account that is not root
}

// NewServer returns the boxes behind the API of a Podman.
func NewServer(api *client.Client, of Podman) *Server { return &Server{api, of} }

// capabilities are what sshd needs to let an account in, and what package tools need to
// give files away. None of them reaches outside of the container.
var capabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETFCAP", "SYS_CHROOT", "NET_BIND_SERVICE", "AUDIT_WRITE"}

// keepAlive is the first process: it waits, reaps, and ends at SIGTERM.
var keepAlive = []string{"/bin/sh", "-c", `trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait $!; done`}

// Create makes a box and starts it, and goes through further steps. With an error nothing
// of it is left, unless the kind is partial.
func (s *Server) Create(ctx context.Context, spec Spec, more ...Step) (Box, error) {
	if err := spec.check(); err != nil {
		return Box{}, err
	}
	spec.made = rand.Text()
	var st steps
	b, err := s.create(ctx, spec, &st, more)
	if err == nil {
		return b, nil
	}
	if uerr := st.undo(ctx); uerr != nil {
		err = diag.New(diag.Partial, "take back box "+spec.Name, "see what is left: 'bowline box prune'", "%w; because of: %w", uerr, err)
	}
	return Box{}, err
}

func (s *Server) create(ctx context.Context, spec Spec, st *steps, more []Step) (Box, error) {
	if _, err := s.Get(ctx, spec.Name); err == nil {
		return Box{}, diag.New(diag.Conflict, "make box", "see 'bowline box info "+spec.Name+"', or remove it: 'bowline box rm "+spec.Name+"'", "there is a box %s already", spec.Name)
	} else if diag.KindOf(err) != diag.Usage {
		return Box{}, err
	}
	if err := s.image(ctx, &spec, st); err != nil {
		return Box{}, err
	}
	for _, volume := range spec.volumes() {
		if err := s.volume(ctx, volume, spec, st); err != nil {
			return Box{}, err
		}
	}
	mode, err := modeFor(s.of.Version, s.of.Rootless)
	if err != nil {
		return Box{}, err
	}
	spec.network = mode
	key, err := newHostKey(spec.Name)
	if err != nil {
		return Box{}, err
	}
	if err := s.container(ctx, containerName(spec.Name), spec, st); err != nil {
		return Box{}, err
	}
	if err := s.ready(ctx, containerName(spec.Name), spec, key); err != nil {
		return Box{}, err
	}
	b, err := s.Get(ctx, spec.Name)
	if err != nil {
		return Box{}, err
	}
	b.HostKey = key.Public
	for _, step := range more {
		if err := st.do(ctx, func(ctx context.Context) error { return step.Do(ctx, s, b) }, step.Back); err != nil {
			return Box{}, err
		}
	}
	return b, s.post(ctx, inside{b.ID, b.User}, spec)
}

// container makes one of this name and starts it.
func (s *Server) container(ctx context.Context, name string, spec Spec, st *steps) error {
	return st.do(ctx, func(ctx context.Context) error {
		if spec.Publish {
			return s.publish(ctx, name, spec)
		}
		return s.run(ctx, name, spec)
	}, func(ctx context.Context) error { return s.takeBack(ctx, name, spec.made) })
}

func (s *Server) run(ctx context.Context, name string, spec Spec) error {
	_, err := s.api.ContainerCreate(ctx, client.ContainerCreateOptions{Name: name, Config: config(spec), HostConfig: hostConfig(spec)})
	if err != nil {
		return failed("make container", err)
	}
	_, err = s.api.ContainerStart(ctx, name, client.ContainerStartOptions{})
	return failed("start container", err)
}

// takeBack removes a container if it is of this making: one of the same name that somebody
// else made meanwhile stays.
func (s *Server) takeBack(ctx context.Context, name, made string) error {
	res, err := s.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return failed("look for container "+name, err)
	}
	if res.Container.Config == nil || res.Container.Config.Labels[labelMade] != made {
		return nil
	}
	return s.removeContainer(ctx, res.Container.ID)
}

// removeContainer removes one, and what volumes without a name it has.
func (s *Server) removeContainer(ctx context.Context, id string) error {
	_, err := s.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return failed("remove container", err)
}

// ready makes the account and SSH in a container that runs.
func (s *Server) ready(ctx context.Context, container string, spec Spec, key HostKey) error {
	on := inside{container, spec.User}
	if err := s.account(ctx, on, spec); err != nil {
		return err
	}
	if err := s.admit(ctx, on, key); err != nil || !spec.Publish {
		return err
	}
	return s.script(ctx, on, script{"wait for sshd", "the image needs OpenSSH's sshd and grep", listenText}, "")
}

// volume makes one that is not there. One that was kept on purpose is used again, and
// not taken back.
func (s *Server) volume(ctx context.Context, name string, spec Spec, st *steps) error {
	if _, err := s.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{}); err == nil {
		return nil
	} else if !errdefs.IsNotFound(err) {
		return failed("look for volume "+name, err)
	}
	return st.do(ctx, func(ctx context.Context) error {
		_, err := s.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Labels: spec.labels()})
		return failed("make volume "+name, err)
	}, func(ctx context.Context) error {
		res, err := s.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if errdefs.IsNotFound(err) || err == nil && res.Volume.Labels[labelMade] != spec.made {
			return nil
		}
		if err == nil {
			_, err = s.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		}
		return failed("remove volume "+name, err)
	})
}

func config(spec Spec) *container.Config {
	env := []string{}
	for _, k := range slices.Sorted(maps.Keys(spec.Env)) {
		env = append(env, k+"="+spec.Env[k])
	}
	first := keepAlive
	if spec.Publish {
		first = listenAlive
	}
	return &container.Config{
		Image: spec.Image, Hostname: spec.Name, Labels: spec.labels(), Env: env, Entrypoint: first[:1], Cmd: first[1:], WorkingDir: "/", User: "0:0",
	}
}

func hostConfig(spec Spec) *container.HostConfig {
	pids := spec.Pids
	mounts := []mount.Mount{
		{Type: mount.TypeVolume, Source: homeVolume(spec.Name), Target: "/home/" + spec.User},
		{Type: mount.TypeVolume, Source: workVolume(spec.Name), Target: "/workspace"},
	}
	for _, v := range spec.Volumes {
		mounts = append(mounts, mount.Mount{Type: mount.TypeVolume, Source: ownVolume(spec.Name, v), Target: v.Target})
	}
	return &container.HostConfig{
		CapDrop: []string{"ALL"}, CapAdd: capabilities, SecurityOpt: []string{"no-new-privileges"},
		NetworkMode: container.NetworkMode(spec.network), PortBindings: bindings(spec),
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
		Resources:     container.Resources{Memory: spec.Memory, NanoCPUs: int64(spec.CPUs * 1e9), PidsLimit: &pids},
		Mounts:        mounts,
	}
}

// accountText makes the account, without a password but not locked, as sshd has it without
// PAM, its directories and its keys. Its argument is the name; keys come through standard
// input, and without any those that a kept home has stay. Further arguments are places of
// volumes, which become the account's.
const accountText = `set -eu
user=$1 home=/home/$1
id "$user" >/dev/null 2>&1 || useradd -M -p '*' -d "$home" -s "$(command -v bash || echo /bin/sh)" "$user"
mkdir -p "$home/.ssh" /workspace/project
cat >"$home/.ssh/authorized_keys.new"
[ -s "$home/.ssh/authorized_keys.new" ] || cat "$home/.ssh/authorized_keys" >"$home/.ssh/authorized_keys.new" 2>/dev/null || :
chmod 700 "$home" "$home/.ssh"; chmod 600 "$home/.ssh/authorized_keys.new"
mv "$home/.ssh/authorized_keys.new" "$home/.ssh/authorized_keys"
chown -R "$user:" "$home/.ssh"
chown "$user:" "$home" /workspace /workspace/project
shift
for place; do chown "$user:" "$place"; done`

func (s *Server) account(ctx context.Context, on inside, spec Spec) error {
	x := script{"make the account " + spec.User, "the image needs a shell, useradd and coreutils", accountText}
	args := []string{spec.User}
	for _, v := range spec.Volumes {
		args = append(args, v.Target)
	}
	return s.script(ctx, on, x, string(spec.Keys), args...)
}

// errAPI marks what Podman did not do.
var errAPI = errors.New("the API of Podman failed")

// failed says what an API call was for.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return diag.New(diag.Failure, what, "", "%w: %w", errAPI, err)
}

// Get returns one box. Kind usage: there is none.
func (s *Server) Get(ctx context.Context, name string) (Box, error) {
	list, err := s.list(ctx, labelName+"="+name)
	if err != nil {
		return Box{}, err
	}
	if len(list) != 1 {
		return Box{}, diag.New(diag.Usage, "find box", "see 'bowline box list'", "there is no box %s", name)
	}
	return list[0], nil
}

// List returns all boxes, newest first.
func (s *Server) List(ctx context.Context) ([]Box, error) { return s.list(ctx, labelName) }

func (s *Server) list(ctx context.Context, label string) ([]Box, error) {
	res, err := s.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", label)})
	if err != nil {
		return nil, failed("list boxes", err)
	}
	out := []Box{}
	for _, c := range res.Items {
		if !slices.Contains(c.Names, "/"+containerName(c.Labels[labelName])) {
			continue // left of a rebuild that was broken off; see Prune
		}
		out = append(out, Box{
			Name: c.Labels[labelName], ID: c.ID, Image: c.Labels[labelImage], Owner: c.Labels[labelOwner], Worktree: c.Labels[labelWorktree],
			Repo: c.Labels[labelRepo], User: c.Labels[labelUser], Status: string(c.State), Created: time.Unix(c.Created, 0).UTC(), Port: portOf(c.Ports),
		})
	}
	slices.SortFunc(out, func(a, b Box) int { return b.Created.Compare(a.Created) })
	return out, nil
}

// Remove takes a box away, with its volumes unless they are to be kept.
func (s *Server) Remove(ctx context.Context, name string, keepVolumes bool) error {
	b, err := s.Get(ctx, name)
	if err != nil {
		return err
	}
	if err := s.removeContainer(ctx, b.ID); err != nil {
		return err
	}
	err = s.removeOwnImages(ctx, name, "")
	if keepVolumes {
		return err
	}
	res, lerr := s.api.VolumeList(ctx, client.VolumeListOptions{Filters: client.Filters{}.Add("label", labelName+"="+name)})
	errs := []error{err, failed("list volumes", lerr)}
	for _, volume := range res.Items {
		if _, err := s.api.VolumeRemove(ctx, volume.Name, client.VolumeRemoveOptions{}); !errdefs.IsNotFound(err) {
			errs = append(errs, failed("remove volume "+volume.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Start starts a stopped box.
func (s *Server) Start(ctx context.Context, name string) error {
	if _, err := s.Get(ctx, name); err != nil {
		return err
	}
	_, err := s.api.ContainerStart(ctx, containerName(name), client.ContainerStartOptions{})
	return failed("start "+name, err)
}

// stopGrace is how long programs in a box may take to end.
const stopGrace = 10 // seconds

// Stop stops a box; its volumes stay.
func (s *Server) Stop(ctx context.Context, name string) error {
	if _, err := s.Get(ctx, name); err != nil {
		return err
	}
	return s.stop(ctx, containerName(name))
}

func (s *Server) stop(ctx context.Context, container string) error {
	grace := stopGrace
	_, err := s.api.ContainerStop(ctx, container, client.ContainerStopOptions{Timeout: &grace})
	return failed("stop "+container, err)
}

// String names a box for people.
func (b Box) String() string { return fmt.Sprintf("%s (%s)", b.Name, b.Status) }
