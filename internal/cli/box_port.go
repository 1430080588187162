package cli

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

func newBoxPort(env *Env) *cobra.Command {
	var target string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "port [NAME] [LOCAL:]REMOTE...", Short: "Forward ports of a box to this machine, until Ctrl-C",
		Long: `Take connections on 127.0.0.1:LOCAL of this machine and hand them on to localhost:REMOTE in
the box, through the link: no port is opened on the server, and nobody else on the network
reaches them. LOCAL is REMOTE unless it is given; 0 lets the system choose. It goes on
until Ctrl-C, or until the box stops.`,
		Example: "  bowline box port 3000\n  bowline box port web -t dev1 8080:3000 0:5432",
		Args:    args(cobra.MinimumNArgs(1)),
	}
	addTargetFlag(cmd, env, &target)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document with the addresses when they take connections")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		var name []string
		if strings.Trim(a[0], "0123456789") != "" && !strings.Contains(a[0], ":") {
			name, a = a[:1], a[1:]
		}
		var ports []bowline.BoxPort
		for _, text := range a {
			p, err := boxPort(text)
			if err != nil {
				return err
			}
			ports = append(ports, p)
		}
		if len(ports) == 0 {
			return usageError(cmd, errors.New("the port is missing"))
		}
		return env.onBox(cmd.Context(), target, name, func(c *bowline.Client, on, name string) error {
			return c.ForwardBox(cmd.Context(), on, name, ports, bowline.BoxForwarding{
				Ready: func(list []bowline.BoxPort) { env.forwarded(name, list, asJSON) },
				Note:  func(text string) { env.note("%s", text) },
			})
		})
	}
	return cmd
}

// boxPort reads [LOCAL:]REMOTE.
func boxPort(text string) (bowline.BoxPort, error) {
	local, remote, ok := strings.Cut(text, ":")
	if !ok {
		local, remote = text, text
	}
	l, err := strconv.ParseUint(local, 10, 16)
	r, rerr := strconv.ParseUint(remote, 10, 16)
	if err != nil || rerr != nil || r == 0 {
		return bowline.BoxPort{}, diag.New(diag.Usage, "read port", "write it as 8080, or 8080:3000 for port 3000 of the box on 8080 here", "%q is no port from 1 to 65535, with one of this machine before it or not", text)
	}
	return bowline.BoxPort{Local: int(l), Remote: int(r)}, nil
}

type jsonPort struct {
	Remote  int    `json:"remote"`
	Address string `json:"address"`
}

// forwarded says where ports are reached. Who reads it need not wait for the end.
func (env *Env) forwarded(name string, list []bowline.BoxPort, asJSON bool) {
	docs := []jsonPort{}
	for _, p := range list {
		docs = append(docs, jsonPort{p.Remote, p.Addr})
		if !asJSON {
			env.say("%s of this machine is port %d of %s; Ctrl-C ends it", p.Addr, p.Remote, name)
		}
	}
	if asJSON {
		if err := printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "box": name, "ports": docs}); err != nil {
			env.note("the addresses were not printed: %v", err)
		}
	}
}
