package box

import (
	"context"
	"slices"

	"github.com/moby/moby/client"
)

// Userns says which user namespace boxes are in: "rootless", that of a Podman that is not
// root's, or "none", where root of a box has the number of the server's root.
//
// Podman's "auto" is not used for the latter. The API takes it (HostConfig.UsernsMode), and
// refuses with "could not find enough available IDs" where /etc/subuid has no range for
// "containers". But it gives every container a range of its own: the new container of a
// rebuild, beside the old one on the same volumes, saw their files as nobody's (65534).
func (s *Server) Userns(ctx context.Context) (string, error) {
	res, err := s.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return "", failed("ask Podman what it is", err)
	}
	if slices.Contains(res.Info.SecurityOptions, "name=rootless") {
		return "rootless", nil
	}
	return "none", nil
}
