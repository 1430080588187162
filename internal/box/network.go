package box

import (
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline/diag"
)

// Network modes of Podman, see podman-create(1): each container has a network stack of its
// own in a process of the server, behind no bridge, so boxes have no way to each other.
//
// Bridges would have one. Podman routes between them, and what keeps isolated ones apart
// goes when any of them does: netavark's iptables driver (seen with 1.4) takes the jump to
// NETAVARK_ISOLATION_1 away with the first network that is taken down, and the next
// container that starts brings it back.
const (
	modeSlirp = "slirp4netns" // Podman 4 and 5
	modePasta = "pasta"       // Podman 5 and newer, without root only
)

// modeFor is the one for boxes of a Podman.
func modeFor(version string, rootless bool) (string, error) {
	text, _, _ := strings.Cut(version, ".")
	major, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return "", diag.New(diag.Refused, "keep boxes apart", "", "Podman says that its version is %q", version)
	case rootless && major >= 5:
		return modePasta, nil
	case major <= 5:
		return modeSlirp, nil
	}
	return "", diag.New(diag.Refused, "keep boxes apart", "use an account without root: 'bowline box setup --rootless'",
		"Podman %s as root has no network that keeps boxes apart", version)
}
