package ssh

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

// maxHops bounds a chain of jump hosts, whose configuration may go in circles.
const maxHops = 8

// endpoint is one SSH server to log in to, with all that the target and
// ssh_config say about it. What the target says wins.
type endpoint struct {
	name     string // what the user calls it
	original string // host as the target has it, perhaps an alias of ssh_config
	host     string // to connect to
	port     int
	user     string
	alias    string // HostKeyAlias, or ""

	keyFile          string // of the target, or ""
	identityFiles    []string
	certificateFiles []string
	agentSocket      string // "" without agent
	identitiesOnly   bool
	password         bool // ask for a password if keys do not do

	knownHosts     []string
	trustCommand   string // to type, up to the fingerprint, to pin its key
	connectTimeout time.Duration
}

// address returns host and port for the network.
func (e endpoint) address() string { return net.JoinHostPort(e.host, strconv.Itoa(e.port)) }

// String returns login and address for people.
func (e endpoint) String() string { return e.user + "@" + e.address() }

func (e endpoint) identity() hostIdentity { return identify(e.host, e.port, e.alias) }

// route is how to reach an endpoint: directly, through jump hosts, or through
// a proxy command.
type route struct {
	end     endpoint
	via     []*route // jump hosts, in order; each but the first is reached over the one before
	command string   // proxy command, expanded; "" none
	server  string   // what counts logins together, see serverKey
	policy  hostPolicy
	creds   *credentials
	clock   *clock
}

// router builds the route of one dial.
type router struct {
	d         *Dialer
	clock     *clock
	anonymous bool // nobody will log in to the end of the route
}

// route asks the configuration about t and its jump hosts. It reads files, and
// does not touch the network. direct is set for jump hosts that are reached
// over another.
func (r router) route(ctx context.Context, t target.Target, depth int, direct bool) (*route, error) {
	if depth > maxHops {
		return nil, diag.New(diag.Usage, "", "see where ProxyJump leads:\nssh -G "+t.Host, "more than %d jump hosts, or a circle of them", maxHops)
	}
	s, err := r.d.settingsFor(ctx, settingsKey{t.Host, t.User, t.Port})
	if err != nil {
		return nil, err
	}
	end := r.d.endpoint(t, s)
	if depth > 0 {
		end.trustCommand = r.d.trustHop(t)
	}
	files, err := r.d.hosts.load(end.knownHosts)
	if err != nil {
		return nil, err
	}
	rt := &route{end: end, clock: r.clock, policy: hostPolicy{end.identity(), files, r.d.cfg.Now}}
	if depth > 0 || !r.anonymous {
		if rt.creds, err = readCredentials(end, r.asker()); err != nil {
			return nil, err
		}
	}
	if direct {
		return rt, nil // whoever asked knows what lies before it
	}
	if err := r.addProxy(ctx, rt, t, s, depth); err != nil {
		return nil, err
	}
	rt.nameServers(s.proxyCommand)
	return rt, nil
}

// nameServers sets server of rt and of the jump hosts that are reached over others.
func (rt *route) nameServers(proxyCommand string) {
	before := ""
	for i, hop := range rt.via {
		if i > 0 {
			hop.server = serverKey(hop, before, "")
		}
		before = hop.server
	}
	rt.server = serverKey(rt, before, proxyCommand)
}

// trustHop is what to type to pin the key of a jump host. One that is only an
// address, or an alias of ssh_config, must become a target for that.
func (d *Dialer) trustHop(t target.Target) string {
	if d.cfg.Resolve != nil {
		if _, ok := d.cfg.Resolve(t.Name); ok {
			return "bowline target trust " + t.Name
		}
	}
	name := t.Name
	if target.ValidName(name) != nil {
		name = "jump-host"
	}
	return fmt.Sprintf("bowline target add %s %s", name, target.Address{User: t.User, Host: t.Host, Port: t.Port})
}

// addProxy sets how rt is reached: as the target says, else as ssh_config does.
func (r router) addProxy(ctx context.Context, rt *route, t target.Target, s settings, depth int) error {
	jump := cmp.Or(t.Jump, s.jump)
	if noneIsEmpty(jump) == "" {
		if s.proxyCommand == "" || t.Jump != "" {
			return nil
		}
		command, err := expandProxyCommand(s.proxyCommand, rt.end)
		if err != nil {
			return diag.New(diag.Usage, "", "", "%w", err)
		}
		rt.command = command
		return nil
	}
	for i, spec := range strings.Split(jump, ",") {
		hop, err := r.d.jumpTarget(strings.TrimSpace(spec))
		if err != nil {
			return diag.New(diag.Usage, "", "", "jump host: %w", err)
		}
		via, err := r.route(ctx, hop, depth+1, i > 0)
		if err != nil {
			return withOp(fmt.Sprintf("jump host %s", hop.Name), err)
		}
		rt.via = append(rt.via, via)
	}
	return nil
}

// jumpTarget reads one jump host: the name of a target, or an address.
func (d *Dialer) jumpTarget(spec string) (target.Target, error) {
	if d.cfg.Resolve != nil && target.ValidName(spec) == nil {
		if t, ok := d.cfg.Resolve(spec); ok {
			return t, validate(t)
		}
	}
	address, err := target.ParseAddress(strings.TrimPrefix(spec, "ssh://"))
	if err != nil {
		return target.Target{}, err
	}
	return target.Target{Name: spec, Kind: target.SSH, Host: address.Host, User: address.User, Port: address.Port}, nil
}

// validate reports why t cannot be dialled over SSH.
func validate(t target.Target) error {
	if t.Kind != target.SSH {
		return fmt.Errorf("target %q is not of type ssh", t.Name)
	}
	return t.Validate()
}

// asker returns the question for passphrases, or nil if nobody can be asked.
func (r router) asker() passphraseAsker {
	if r.d.cfg.Prompt == nil {
		return nil
	}
	return func(_ context.Context, path string) (string, error) {
		return r.clock.ask(r.d.cfg.Prompt, fmt.Sprintf("passphrase for key %q: ", path), false)
	}
}

// endpoint merges what t and ssh_config say.
func (d *Dialer) endpoint(t target.Target, s settings) endpoint {
	home, _ := os.UserHomeDir() // "" leaves "~" alone, and no such file exists
	names := newTokens(&s, t.Host, home)
	e := endpoint{
		name: t.Name, original: t.Host,
		host: s.host, port: cmp.Or(t.Port, s.port), user: cmp.Or(t.User, s.user), alias: s.alias,
		identityFiles: s.identityFiles, certificateFiles: s.certificateFiles,
		agentSocket: d.agentSocket(s), identitiesOnly: s.identitiesOnly,
		password:       t.Password,
		knownHosts:     append([]string{}, d.cfg.KnownHosts...),
		trustCommand:   "bowline target trust " + t.Name,
		connectTimeout: s.connectTimeout,
	}
	if t.KeyFile != "" {
		e.keyFile = names.path(t.KeyFile)
	}
	if t.KnownHosts != "" {
		e.knownHosts = append(e.knownHosts, names.path(t.KnownHosts))
	}
	e.knownHosts = append(e.knownHosts, s.knownHosts...)
	return e
}

func (d *Dialer) agentSocket(s settings) string {
	socket := cmp.Or(d.cfg.AgentSocket, s.identityAgent, defaultAgent())
	return noneIsEmpty(socket)
}
