package box

import (
	"context"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/bowline-sh/bowline/diag"
)

// Ports of a server for boxes that are published; a firewall may let just these through.
const (
	firstPort = 2200
	lastPort  = 2299
)

// sshPort is where sshd listens in a box that is published.
var sshPort = network.MustParsePort("22/tcp")

// listenAlive is the first process of a box that is published: it waits as keepAlive does,
// and keeps sshd listening once the box is ready, which SIGUSR1 says.
var listenAlive = []string{"/bin/sh", "-c", `trap 'exit 0' TERM INT; trap : USR1
p=$(command -v sshd) || p=/usr/sbin/sshd
s=
while :; do
	if [ -s /etc/bowline/sshd_config ] && ! { [ -n "$s" ] && kill -0 "$s" 2>/dev/null; }; then
		mkdir -p /run/sshd
		"$p" -D -f /etc/bowline/sshd_config &
		s=$!
	fi
	sleep 30 &
	wait $!
done`}

// listenText wakes the first process and waits until port 22 (0016) is in the state LISTEN
// (0A), see proc(5) on /proc/net/tcp.
const listenText = `kill -USR1 1
n=0
until grep -qs ':0016 [0-9A-F]*:0000 0A ' /proc/net/tcp /proc/net/tcp6; do
	n=$((n+1))
	[ "$n" -lt 200 ] || { echo "sshd does not listen in the box" >&2; exit 1; }
	sleep 0.05
done`

// taken returns the ports of the server that containers have, ours and others, whether
// they run or not: a stopped one wants its port back.
func (s *Server) taken(ctx context.Context) (map[int]bool, error) {
	list, err := s.api.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, failed("list ports", err)
	}
	out := map[int]bool{}
	for _, c := range list.Items {
		for _, p := range c.Ports {
			out[int(p.PublicPort)] = true
		}
	}
	return out, nil
}

// portOf is where the server listens for the sshd of a box, 0 for nowhere.
func portOf(list []container.PortSummary) int {
	for _, p := range list {
		if p.PrivatePort == sshPort.Num() {
			return int(p.PublicPort)
		}
	}
	return 0
}

// publish makes and starts a container with the first port that is free, for which it
// tries: other programs have ports too, and another client may be choosing now.
func (s *Server) publish(ctx context.Context, name string, spec Spec) error {
	if spec.port != 0 { // it has one
		return s.run(ctx, name, spec)
	}
	taken, err := s.taken(ctx)
	if err != nil {
		return err
	}
	for spec.port = firstPort; spec.port <= lastPort; spec.port++ {
		if taken[spec.port] {
			continue
		}
		if err = s.run(ctx, name, spec); !portBusy(err) {
			return err
		}
		if err := s.takeBack(ctx, name, spec.made); err != nil {
			return err
		}
	}
	return diag.New(diag.Conflict, "publish the box", "see which boxes have ports: 'bowline box list', or leave '--publish' away: 'ssh NAME.TARGET' needs no port",
		"no port from %d to %d of the server is free", firstPort, lastPort)
}

// portBusy reports that a container could not start because somebody listens on its port.
// Podman hands on the text of EADDRINUSE, and no code for it.
func portBusy(err error) bool {
	return err != nil && strings.Contains(err.Error(), "address already in use")
}

// bindings are the ports that are published: none, or sshd's on all addresses of the
// server, by each of which it may be reached.
func bindings(spec Spec) network.PortMap {
	if spec.port == 0 {
		return nil
	}
	return network.PortMap{sshPort: {{HostPort: strconv.Itoa(spec.port)}}}
}
