package box

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// Orphan is what belongs to no box: a container that a rebuild or create left when it was
// broken off, or a volume without its box, which may have been kept on purpose.
type Orphan struct {
	Kind    string // "container" or "volume"
	Name    string
	Box     string // that it was made for
	Owner   string
	Created time.Time
}

// Orphans lists those of an owner that were made before a time, by kind and name. What is
// younger may be in the making.
func (s *Server) Orphans(ctx context.Context, owner string, before time.Time) ([]Orphan, error) {
	all, err := s.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", labelName)})
	if err != nil {
		return nil, failed("list containers", err)
	}
	volumes, err := s.api.VolumeList(ctx, client.VolumeListOptions{Filters: client.Filters{}.Add("label", labelName)})
	if err != nil {
		return nil, failed("list volumes", err)
	}
	out := []Orphan{}
	needed := map[string]bool{} // names of boxes that have a container
	for _, c := range all.Items {
		name := c.Labels[labelName]
		needed[name] = true
		if !slices.Contains(c.Names, "/"+containerName(name)) {
			out = append(out, Orphan{"container", c.ID, name, c.Labels[labelOwner], time.Unix(c.Created, 0).UTC()})
		}
	}
	for _, v := range volumes.Items {
		name := v.Labels[labelName]
		made, err := time.Parse(time.RFC3339, v.CreatedAt)
		if !needed[name] && err == nil {
			out = append(out, Orphan{"volume", v.Name, name, v.Labels[labelOwner], made.UTC()})
		}
	}
	out = slices.DeleteFunc(out, func(o Orphan) bool { return o.Owner != owner || !o.Created.Before(before) })
	slices.SortFunc(out, func(a, b Orphan) int { return strings.Compare(a.Kind+a.Name, b.Kind+b.Name) })
	return out, nil
}

// Prune removes orphans.
func (s *Server) Prune(ctx context.Context, list []Orphan) error {
	var errs []error
	for _, o := range list {
		if o.Kind == "container" {
			errs = append(errs, s.removeContainer(ctx, o.Name))
			continue
		}
		_, err := s.api.VolumeRemove(ctx, o.Name, client.VolumeRemoveOptions{})
		errs = append(errs, failed("remove volume "+o.Name, err))
	}
	return errors.Join(errs...)
}

// Logs writes what the first process of a box printed, of which tail is the number of
// lines, "all" for all; with follow until ctx or the box ends.
func (s *Server) Logs(ctx context.Context, name, tail string, follow bool, out, errs io.Writer) error {
	b, err := s.Get(ctx, name)
	if err != nil {
		return err
	}
	res, err := s.api.ContainerLogs(ctx, b.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: tail, Follow: follow})
	if err != nil {
		return failed("read logs", err)
	}
	defer res.Close()
	_, err = stdcopy.StdCopy(out, errs, res)
	return failed("read logs", err)
}
