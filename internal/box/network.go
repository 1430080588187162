package box

import (
	"context"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bowline-sh/bowline/diag"
)

// networkName is that of the network of a box, which no other box is on.
func networkName(name string) string { return containerName(name) }

// isolate is the option of Podman's bridges by which two networks that have it cannot
// reach each other (podman-network-create(1), since 4.1). Without it the server would hand
// on what one box sends to another, for it routes between its bridges.
const isolate = "isolate"

// network makes the network of a box if it is not there. Boxes of a server cannot reach
// each other: each has its own, and all are isolated.
func (s *Server) network(ctx context.Context, spec Spec, st *steps) error {
	name := networkName(spec.Name)
	res, err := s.api.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	switch {
	case err == nil && res.Network.Labels[labelName] != spec.Name:
		return diag.New(diag.Conflict, "make network", "look at it there: 'podman network inspect "+name+"'", "there is a network %s that is not ours", name)
	case err == nil:
		return nil
	case !errdefs.IsNotFound(err):
		return failed("look for network "+name, err)
	}
	return st.do(ctx, func(ctx context.Context) error {
		_, err := s.api.NetworkCreate(ctx, name, client.NetworkCreateOptions{Driver: "bridge", Labels: spec.labels(), Options: map[string]string{
			isolate: "true", "com.docker.network.bridge.name": bridgeName(spec.made),
		}})
		return failed("make network "+name, err)
	}, func(ctx context.Context) error { return s.dropNetwork(ctx, name, spec.made) })
}

// bridgeName is that of the interface on the server: random, for what Podman would number
// collides with networks of other accounts. The kernel takes 15 letters (IFNAMSIZ).
func bridgeName(made string) string { return "bl-" + strings.ToLower(made[:10]) }

// dropNetwork removes a network if it is of this making; "" means of any of ours.
func (s *Server) dropNetwork(ctx context.Context, name, made string) error {
	res, err := s.api.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return failed("look for network "+name, err)
	}
	labels := res.Network.Labels
	if labels[labelName] == "" || made != "" && labels[labelMade] != made {
		return nil
	}
	if _, err = s.api.NetworkRemove(ctx, name, client.NetworkRemoveOptions{}); errdefs.IsNotFound(err) {
		return nil
	}
	return failed("remove network "+name, err)
}
