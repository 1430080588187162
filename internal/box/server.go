package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/bowline-sh/bowline/diag"
)

// Server is the boxes of one Podman. Methods may be called concurrently.
type Server struct{ api *client.Client }

// NewServer returns the boxes behind an API.
func NewServer(api *client.Client) *Server { return &Server{api} }

// capabilities are what sshd needs to let an account in, and what package tools need to
// give files away. None of them reaches outside of the container.
var capabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETFCAP", "SYS_CHROOT", "NET_BIND_SERVICE", "AUDIT_WRITE"}

// keepAlive is the first process: it waits, reaps, and ends at SIGTERM.
var keepAlive = []string{"/bin/sh", "-c", `trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait $!; done`}

// Create makes a box and starts it. With an error nothing of it is left.
func (s *Server) Create(ctx context.Context, spec Spec) (Box, error) {
	if err := spec.check(); err != nil {
		return Box{}, err
	}
	var st steps
	key, err := s.create(ctx, spec, &st)
	if err != nil {
		if uerr := st.undo(ctx); uerr != nil {
			err = errors.Join(err, diag.New(diag.Partial, "take back box "+spec.Name, "'bowline box prune' removes what is left", "%w", uerr))
		}
		return Box{}, err
	}
	b, err := s.Get(ctx, spec.Name)
	b.HostKey = key
	return b, err
}

func (s *Server) create(ctx context.Context, spec Spec, st *steps) (hostKey string, err error) {
	name := containerName(spec.Name)
	if _, err := s.Get(ctx, spec.Name); err == nil {
		return "", diag.New(diag.Conflict, "make box", "see 'bowline box info "+spec.Name+"', or remove it: 'bowline box rm "+spec.Name+"'", "there is a box %s already", spec.Name)
	} else if diag.KindOf(err) != diag.Usage {
		return "", err
	}
	for _, volume := range []string{homeVolume(spec.Name), workVolume(spec.Name)} {
		if err := s.volume(ctx, volume, spec, st); err != nil {
			return "", err
		}
	}
	err = st.do(ctx, func(ctx context.Context) error {
		_, err := s.api.ContainerCreate(ctx, client.ContainerCreateOptions{Name: name, Config: config(spec), HostConfig: hostConfig(spec)})
		return failed("make container", err)
	}, func(ctx context.Context) error {
		_, err := s.api.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true})
		return failed("remove container", err)
	})
	if err != nil {
		return "", err
	}
	if _, err := s.api.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
		return "", failed("start container", err)
	}
	if err := s.account(ctx, spec); err != nil {
		return "", err
	}
	key, err := s.admit(ctx, spec)
	return key.Public, err
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
		_, err := s.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		return failed("remove volume "+name, err)
	})
}

func config(spec Spec) *container.Config {
	env := []string{}
	for _, k := range slices.Sorted(maps.Keys(spec.Env)) {
		env = append(env, k+"="+spec.Env[k])
	}
	return &container.Config{
		Image: spec.Image, Hostname: spec.Name, Labels: spec.labels(), Env: env, Entrypoint: keepAlive[:1], Cmd: keepAlive[1:], WorkingDir: "/", User: "0:0",
	}
}

func hostConfig(spec Spec) *container.HostConfig {
	pids := spec.Pids
	return &container.HostConfig{
		CapDrop: []string{"ALL"}, CapAdd: capabilities, SecurityOpt: []string{"no-new-privileges"},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
		Resources:     container.Resources{Memory: spec.Memory, NanoCPUs: int64(spec.CPUs * 1e9), PidsLimit: &pids},
		Mounts: []mount.Mount{
			{Type: mount.TypeVolume, Source: homeVolume(spec.Name), Target: "/home/" + spec.User},
			{Type: mount.TypeVolume, Source: workVolume(spec.Name), Target: "/workspace"},
		},
	}
}

// accountText makes the account, without a password but not locked, as sshd has it without PAM, its directories and its keys. Its arguments are the
// name and the directory of the project; keys come through standard input.
const accountText = `set -eu
user=$1 home=/home/$1
id "$user" >/dev/null 2>&1 || useradd -M -p '*' -d "$home" -s "$(command -v bash || echo /bin/sh)" "$user"
mkdir -p "$home/.ssh" /workspace/project
cat >"$home/.ssh/authorized_keys.new"
chmod 700 "$home" "$home/.ssh"; chmod 600 "$home/.ssh/authorized_keys.new"
mv "$home/.ssh/authorized_keys.new" "$home/.ssh/authorized_keys"
chown -R "$user:" "$home/.ssh"
chown "$user:" "$home" /workspace /workspace/project`

func (s *Server) account(ctx context.Context, spec Spec) error {
	x := script{"make the account " + spec.User, "the image needs a shell, useradd and coreutils", accountText}
	return s.script(ctx, spec.Name, x, string(spec.Keys), spec.User)
}

// failed says what an API call was for.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return diag.New(diag.Failure, what, "", "%w", err)
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
		out = append(out, Box{
			Name: c.Labels[labelName], ID: c.ID, Image: c.Labels[labelImage], Owner: c.Labels[labelOwner], Worktree: c.Labels[labelWorktree],
			Repo: c.Labels[labelRepo], User: c.Labels[labelUser], Status: string(c.State), Created: time.Unix(c.Created, 0).UTC(),
		})
	}
	slices.SortFunc(out, func(a, b Box) int { return b.Created.Compare(a.Created) })
	return out, nil
}

// Remove takes a box away, with its volumes unless they are to be kept.
func (s *Server) Remove(ctx context.Context, name string, keepVolumes bool) error {
	if _, err := s.Get(ctx, name); err != nil {
		return err
	}
	if _, err := s.api.ContainerRemove(ctx, containerName(name), client.ContainerRemoveOptions{Force: true}); err != nil {
		return failed("remove container", err)
	}
	if keepVolumes {
		return nil
	}
	var errs []error
	for _, volume := range []string{homeVolume(name), workVolume(name)} {
		if _, err := s.api.VolumeRemove(ctx, volume, client.VolumeRemoveOptions{}); !errdefs.IsNotFound(err) {
			errs = append(errs, failed("remove volume "+volume, err))
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
	grace := stopGrace
	_, err := s.api.ContainerStop(ctx, containerName(name), client.ContainerStopOptions{Timeout: &grace})
	return failed("stop "+name, err)
}

// ExecRequest is a command in a box.
type ExecRequest struct {
	Argv           []string
	User           string // default the account of the box
	Dir            string // default /workspace/project
	Env            []string
	Stdin          io.Reader // optional
	Stdout, Stderr io.Writer // required; with TTY all goes to Stdout
	TTY            bool
}

// Exec runs a command in a box and returns its exit code. When ctx ends the call
// returns; what runs in the box goes on.
func (s *Server) Exec(ctx context.Context, name string, req ExecRequest) (int, error) {
	id, conn, err := s.attach(ctx, name, req)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Conn.Close() })()
	go func() {
		if req.Stdin != nil {
			_, _ = io.Copy(conn.Conn, req.Stdin) // the command may not read all of it
		}
		_ = conn.CloseWrite()
	}()
	if req.TTY {
		_, err = io.Copy(req.Stdout, conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(req.Stdout, req.Stderr, conn.Reader)
	}
	if ctx.Err() != nil {
		return 0, diag.New(diag.Canceled, "run in "+name, "", "%w", context.Cause(ctx))
	}
	if err != nil {
		return 0, diag.New(diag.Lost, "run in "+name, "", "%w", err)
	}
	res, err := s.api.ExecInspect(ctx, id, client.ExecInspectOptions{})
	return res.ExitCode, failed("ask how it ended", err)
}

func (s *Server) attach(ctx context.Context, name string, req ExecRequest) (id string, conn client.HijackedResponse, err error) {
	b, err := s.Get(ctx, name)
	if err != nil {
		return "", conn, err
	}
	if b.Status != "running" {
		return "", conn, diag.New(diag.Refused, "run in "+name, "start it: 'bowline box start "+name+"'", "the box is %s", b.Status)
	}
	opts := client.ExecCreateOptions{Cmd: req.Argv, User: req.User, WorkingDir: req.Dir, Env: req.Env, TTY: req.TTY, AttachStdin: true, AttachStdout: true, AttachStderr: !req.TTY}
	if opts.User == "" {
		opts.User = b.User
	}
	if opts.WorkingDir == "" && req.User == "" {
		opts.WorkingDir = "/workspace/project"
	}
	created, err := s.api.ExecCreate(ctx, containerName(name), opts)
	if err != nil {
		return "", conn, failed("run in "+name, err)
	}
	attached, err := s.api.ExecAttach(ctx, created.ID, client.ExecAttachOptions{TTY: req.TTY})
	return created.ID, attached.HijackedResponse, failed("run in "+name, err)
}

// String names a box for people.
func (b Box) String() string { return fmt.Sprintf("%s (%s)", b.Name, b.Status) }
