package box

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/recipe"
)

// ownImage is the name of the image that was built for a box. Every build has a name of
// its own, so that no other one's changes meaning.
func ownImage(name, made string) string { return ownImages(name) + strings.ToLower(made) }

// ownImages is what the names of images of a box begin with.
func ownImages(name string) string { return "localhost/bowline-box/" + name + ":" }

// order is an image to be built.
type order struct {
	recipe.Build
	name   string
	labels map[string]string // with labelMade
	said   io.Writer         // optional
}

// Built is an image that was built.
type Built struct {
	Name string
	ID   string
	Sent recipe.Size // what was sent for it
}

// BuildImage makes an image. With an error nothing of it is left, unless the kind is
// partial; and what had its name before has it still.
func (s *Server) BuildImage(ctx context.Context, name string, b recipe.Build, said io.Writer) (Built, error) {
	o := order{b, name, map[string]string{labelMade: rand.Text()}, said}
	out, err := s.build(ctx, o)
	if err != nil {
		if uerr := s.unbuild(context.WithoutCancel(ctx), o.labels[labelMade]); uerr != nil {
			err = diag.New(diag.Partial, "take back image "+name, "see what is left, on the server: 'podman images --all'", "%w; because of: %w", uerr, err)
		}
	}
	return out, err
}

// image builds the image of a box, if it is to have one of its own.
func (s *Server) image(ctx context.Context, spec *Spec, st *steps) error {
	if spec.Build == nil {
		return nil
	}
	spec.Image = ownImage(spec.Name, spec.made)
	o := order{*spec.Build, spec.Image, map[string]string{labelMade: spec.made, labelName: spec.Name, labelOwner: spec.Owner}, spec.Said}
	return st.do(ctx, func(ctx context.Context) error {
		_, err := s.build(ctx, o)
		return err
	}, func(ctx context.Context) error { return s.unbuild(ctx, o.labels[labelMade]) })
}

// build sends the context, and is done when Podman has an image of that name that is of
// this making.
func (s *Server) build(ctx context.Context, o order) (Built, error) {
	args := map[string]*string{}
	for k, v := range o.Args {
		args[k] = &v
	}
	r, w := io.Pipe()
	var sent recipe.Size
	var unread error
	done := make(chan struct{})
	go func() {
		defer close(done)
		sent, unread = o.Archive(w)
		w.CloseWithError(unread)
	}()
	res, err := s.api.ImageBuild(ctx, r, client.ImageBuildOptions{
		Tags: []string{o.name}, Dockerfile: o.Build.Name(), BuildArgs: args, Target: o.Target, Labels: o.labels, Remove: true, ForceRemove: true,
	})
	if err = failed("build the image", err); err == nil {
		err = buildSays(res.Body, o.said)
		_ = res.Body.Close() // it was read to its end, or is given up
	}
	r.CloseWithError(errGivenUp)
	<-done
	switch {
	case unread != nil && !errors.Is(unread, errGivenUp):
		return Built{}, unread // of this machine: what Podman says follows from it
	case err != nil && ctx.Err() != nil:
		return Built{}, diag.New(diag.Canceled, "build the image", "see what is left of the step on the server: 'podman ps --all --external'", "%w; Podman may carry the step that it was in on to its end", context.Cause(ctx))
	case err != nil:
		return Built{}, err
	}
	id, err := s.imageOf(ctx, o)
	return Built{Name: o.name, ID: id, Sent: sent}, err
}

// errGivenUp is why no more of an archive is read: Podman has what it needs, or failed.
var errGivenUp = errors.New("no more of the context is needed")

// imageOf looks whether the image is there and is what was just built.
func (s *Server) imageOf(ctx context.Context, o order) (id string, err error) {
	res, err := s.api.ImageInspect(ctx, o.name)
	if err != nil {
		return "", failed("look for the image that was built", err)
	}
	if res.Config == nil || res.Config.Labels[labelMade] != o.labels[labelMade] {
		return "", diag.New(diag.Failure, "build the image", "type it again", "%s is another image than the one that was built", o.name)
	}
	return res.ID, nil
}

// maxLine bounds one message of a build, in bytes.
const maxLine = 1 << 20

// buildSays hands on what a build prints, and returns its error. The messages are JSON
// documents with "stream", "error" or "aux" (the Docker API, "Build an image").
func buildSays(from io.Reader, to io.Writer) error {
	if to == nil {
		to = io.Discard
	}
	bounded := &bounded{r: from, left: maxLine}
	messages := json.NewDecoder(bounded)
	for {
		var m struct {
			Stream string
			Error  string
		}
		bounded.left = maxLine
		err := messages.Decode(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return diag.New(diag.Lost, "build the image", "", "what Podman says cannot be read: %w", err)
		}
		if m.Error != "" {
			return diag.New(diag.Failure, "build the image", "see the lines above; 'bowline box build' tries it alone", "%s", strings.TrimSpace(m.Error))
		}
		_, _ = io.WriteString(to, m.Stream) // a terminal that is gone stops no build
	}
}

// bounded refuses a message without an end.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("a message of more than %d bytes", maxLine)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Bounds of taking a build back: Podman goes on with a build that was broken off to the end
// of its step, and holds its layers till then.
const (
	unbuildRounds = 200
	unbuildAgain  = 50 * time.Millisecond
)

// unbuild removes the images of one making with the layers that are of it alone. Others',
// which it was built on, stay.
func (s *Server) unbuild(ctx context.Context, made string) error {
	var last error
	for range unbuildRounds {
		res, err := s.api.ImageList(ctx, client.ImageListOptions{All: true, Filters: client.Filters{}.Add("label", labelMade+"="+made)})
		if err != nil {
			return failed("list images", err)
		}
		if len(res.Items) == 0 {
			return nil
		}
		last = nil
		removed := false
		for _, i := range res.Items {
			_, err := s.api.ImageRemove(ctx, i.ID, client.ImageRemoveOptions{PruneChildren: true})
			if err == nil || errdefs.IsNotFound(err) {
				removed = true
				continue
			}
			last = errors.Join(last, failed("remove image "+i.ID, err)) // its children come first
		}
		if !removed {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(unbuildAgain):
			}
		}
	}
	return fmt.Errorf("a step of the build may go on; when 'podman ps --all --external' on the server shows it no more, 'podman image prune --filter label=%s=%s' there removes the rest: %w", labelMade, made, last)
}

// removeOwnImages removes the images that were built for a box but one, which may be "".
// What something else uses stays.
func (s *Server) removeOwnImages(ctx context.Context, name, but string) error {
	res, err := s.api.ImageList(ctx, client.ImageListOptions{Filters: client.Filters{}.Add("label", labelName+"="+name)})
	if err != nil {
		return failed("list images", err)
	}
	var errs []error
	for _, i := range res.Items {
		for _, tag := range i.RepoTags {
			if !strings.HasPrefix(tag, ownImages(name)) || tag == but {
				continue
			}
			_, err := s.api.ImageRemove(ctx, tag, client.ImageRemoveOptions{PruneChildren: true})
			if !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
				errs = append(errs, failed("remove image "+tag, err))
			}
		}
	}
	return errors.Join(errs...)
}

// post runs the commands for a new container, as its account in the repository.
func (s *Server) post(ctx context.Context, on inside, spec Spec) error {
	for _, c := range spec.Post {
		tail := &tailed{to: spec.Said, max: maxTail}
		code, err := s.exec(ctx, on, ExecRequest{Argv: c.Argv, Dir: recipe.Project, Stdout: tail, Stderr: tail, Env: []string{"HOME=/home/" + on.user, "USER=" + on.user}})
		if err == nil && code != 0 {
			err = diag.New(diag.Failure, "run postCreateCommand", "try it there without it: 'bowline box create --image', then 'bowline box exec'", "%s: exit code %d: %s", c, code, strings.TrimSpace(tail.String()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxTail bounds what an error quotes of a command, in bytes.
const maxTail = 2 << 10

// tailed hands on what is written and keeps its end.
type tailed struct {
	to  io.Writer // optional
	max int
	end []byte
}

func (t *tailed) Write(p []byte) (int, error) {
	if t.to != nil {
		_, _ = t.to.Write(p) // a terminal that is gone stops no command
	}
	t.end = append(t.end, p...)
	t.end = t.end[max(0, len(t.end)-t.max):]
	return len(p), nil
}

func (t *tailed) String() string { return string(t.end) }
