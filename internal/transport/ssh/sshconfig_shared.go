package ssh

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Where nothing in ssh_config depends on the host, one answer of "ssh -G" does for all
// hosts: it takes 6 ms of a processor, which is more than a login costs us. ssh itself
// says which files it read ("ssh -v"), and we look for a line in them that could make
// the answer for another host differ. With any doubt ssh is asked for each host.

// sharedAnswer is what ssh said of the first host with a login and a port.
type sharedAnswer struct {
	ready chan struct{} // closed when out is set
	out   string        // "" if it is not for all hosts
}

// plainName is a host name that ssh takes as it is: it makes no capitals small and
// expands no tokens. The last label begins with a letter, as no address does.
var plainName = regexp.MustCompile(`^([a-z0-9][a-z0-9-]*\.)*[a-z][a-z0-9-]*$`)

// ordinary reports whether ssh takes a host as it is. It rewrites addresses as
// netip.Addr does ("127.1", "::0").
func ordinary(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Zone() == "" && a.String() == host
	}
	return plainName.MatchString(host)
}

// askSSH returns what "ssh -G" says of a host.
func (d *Dialer) askSSH(ctx context.Context, program string, key settingsKey) (string, error) {
	if !ordinary(key.host) {
		return d.askAlone(ctx, program, key)
	}
	a, first := d.sharedAnswer(settingsKey{user: key.user, port: key.port})
	if first {
		defer close(a.ready)
		out, told, err := runSSH(ctx, program, append([]string{"-v"}, sshArgs(key, d.cfg.SSHConfig)...))
		if err != nil {
			d.forget(settingsKey{user: key.user, port: key.port})
		} else if forAllHosts(program, out, told, key.host) {
			a.out = out
		}
		return out, err
	}
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-a.ready:
	}
	if a.out == "" {
		return d.askAlone(ctx, program, key)
	}
	return strings.Replace(a.out, hostNameLine(hostNameIn(a.out)), hostNameLine(key.host), 1), nil
}

func (d *Dialer) askAlone(ctx context.Context, program string, key settingsKey) (string, error) {
	out, _, err := runSSH(ctx, program, sshArgs(key, d.cfg.SSHConfig))
	return out, err
}

// sharedAnswer returns what all callers with the same key share; the first sets it.
func (d *Dialer) sharedAnswer(key settingsKey) (a *sharedAnswer, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a, ok := d.shared[key]; ok {
		return a, false
	}
	a = &sharedAnswer{ready: make(chan struct{})}
	d.shared[key] = a
	return a, true
}

// forget lets the next caller be the first.
func (d *Dialer) forget(key settingsKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.shared, key)
}

func hostNameLine(host string) string { return "\nhostname " + host + "\n" }

func hostNameIn(out string) string {
	_, rest, _ := strings.Cut(out, "\nhostname ")
	host, _, _ := strings.Cut(rest, "\n")
	return host
}

// What "ssh -v" says of each file, in OpenSSH's readconf.c; the path is cut at 200 bytes.
const (
	saysReading = "debug1: Reading configuration data "
	maxSaidPath = 200
)

// forAllHosts reports whether out, what ssh says of host, holds for every other host,
// too, but for the line with its name. told is what ssh said besides.
func forAllHosts(program, out, told, host string) bool {
	if len(told) >= maxSSHOutput || hostNameIn(out) != host || strings.Count(out, "\nhostname ") != 1 ||
		!strings.Contains(out, "\ncanonicalizehostname false\n") || isScript(program) {
		return false
	}
	for line := range strings.Lines(told) {
		path, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), saysReading)
		if !ok {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil || len(path) >= maxSaidPath || !hostless(string(text)) {
			return false
		}
	}
	return true
}

// isScript reports whether an ssh in front of ssh may do as it likes with its host.
func isScript(program string) bool {
	f, err := os.Open(program)
	if err != nil {
		return true
	}
	defer f.Close()
	var magic [2]byte
	_, err = f.Read(magic[:])
	return err != nil || string(magic[:]) == "#!"
}

// configLine is a line of ssh_config: a word, and what it is set to.
var configLine = regexp.MustCompile(`^[ \t\f]*([A-Za-z0-9]+)(?:[ \t\f]*=[ \t\f]*|[ \t\f]+)(.*?)[ \t\f\r]*$`)

// obeyed are the options that settings.set takes.
var obeyed = []string{
	"port", "user", "hostkeyalias", "identityfile", "certificatefile", "identityagent", "identitiesonly",
	"proxyjump", "proxycommand", "userknownhostsfile", "globalknownhostsfile", "connecttimeout", "include",
}

// hostless reports whether no line of an ssh_config depends on the host: no Match, no
// Host but "*", nothing that changes a host's name, and no token in what we obey.
func hostless(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		word := configLine.FindStringSubmatch(line)
		if word == nil {
			return false
		}
		name, value := strings.ToLower(word[1]), word[2]
		switch {
		case name == "host":
			if value != "*" {
				return false
			}
		case name == "match" || name == "hostname" || name == "tag" || strings.HasPrefix(name, "canonical"):
			return false
		case slices.Contains(obeyed, name) && strings.ContainsAny(value, "%$"):
			return false
		}
	}
	return true
}

// withoutDebug leaves out what "ssh -v" adds.
func withoutDebug(told string) string {
	var b strings.Builder
	for line := range strings.Lines(told) {
		if !strings.HasPrefix(line, "debug1: ") && !strings.HasPrefix(line, "OpenSSH_") {
			fmt.Fprint(&b, line)
		}
	}
	return b.String()
}
