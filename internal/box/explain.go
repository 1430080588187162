package box

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

// only is said by every error about reaching boxes.
const only = "boxes are remote-only, so that what runs in them, an AI agent too, is kept away from your machine"

// server names what boxes are reached at.
func server(t target.Target, socket string) string {
	user := t.User
	if user == "" {
		user = "(as ssh_config says)"
	}
	if socket == "" {
		socket = "that of the account or /run/podman/podman.sock"
	}
	return fmt.Sprintf("host %s, user %s, Podman socket %s", t.Host, user, socket)
}

// login is what is typed after ssh.
func login(t target.Target) string {
	s := t.Host
	if t.User != "" {
		s = t.User + "@" + s
	}
	if t.Port != 0 {
		s = fmt.Sprintf("-p %d %s", t.Port, s)
	}
	return s
}

func numbered(first string, steps ...string) string {
	var b strings.Builder
	if first != "" {
		fmt.Fprintln(&b, first)
	}
	for i, s := range steps {
		fmt.Fprintf(&b, "%d. %s\n", i+1, s)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// refusedServer names what is not used, if it has a name.
func refusedServer(t target.Target) string {
	if t.Host == "" || t.Kind != target.SSH {
		return ", whose Podman socket is never used"
	}
	return " (" + server(t, "") + ")"
}

func notRemote(t target.Target, why string) error {
	return diag.New(diag.Refused, "use boxes on "+t.Name, numbered("",
		"name a server: 'bowline target add NAME USER@HOST' (it goes into the file that 'bowline config path' prints)",
		"see whether it can be reached: 'bowline target test NAME'",
		"use it: 'bowline box create -t NAME', or make it the default: 'bowline target default NAME'"),
		"%s; %s%s", only, why, refusedServer(t))
}

// noLink explains why there is no connection.
func noLink(t target.Target, err error) error {
	steps := []string{"try the login: 'ssh " + login(t) + " true'", "see what stands in the way: 'bowline target test " + t.Name + "'"}
	what := "the server cannot be reached"
	switch diag.KindOf(err) {
	case diag.Denied:
		what = "the server does not let us in"
		steps = append([]string{"see what keys ssh-agent has: 'ssh-add -l'; without an agent: 'eval $(ssh-agent)'", "give it yours: 'ssh-add ~/.ssh/id_ed25519'", "let the server know it: 'ssh-copy-id " + login(t) + "'"}, steps...)
	case diag.Untrusted:
		what = "the server's host key is not trusted"
		steps = []string{"see its fingerprint, and trust it if it is right: 'bowline target trust " + t.Name + "'"}
	case diag.Unreachable:
		steps = append(steps, "see whether the name is right: 'getent hosts "+t.Host+"'", "see whether sshd runs, on the server: 'systemctl status ssh'")
	default:
		return err
	}
	return diag.New(diag.KindOf(err), "use boxes on "+t.Name, numbered(diag.HintOf(err), steps...), "%s (%s): %w; %s", what, server(t, ""), err, only)
}

// late is the error of a call that failed because its time was over, or because the caller
// went; nil if it did not. What says more of what is left stays as it is.
func late(ctx context.Context, t target.Target, err error) error {
	kind := diag.Canceled
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		kind = diag.Timeout
	}
	switch of := diag.KindOf(err); {
	case ctx.Err() == nil || of == kind || of == diag.Lost || of == diag.Partial:
		return nil
	case kind == diag.Timeout:
		return diag.New(kind, "use boxes on "+t.Name, cmp.Or(diag.HintOf(err), "give it more time"), "the time was over before it was begun: %w", err)
	}
	return diag.New(kind, "use boxes on "+t.Name, "", "it was broken off: %w", err)
}

// noPodman explains why Podman does not answer, or did not do what it was asked.
func noPodman(t target.Target, socket string, err error) error {
	return diag.New(diag.KindOf(err), "use boxes on "+t.Name, numbered(diag.HintOf(err),
		"see whether Podman is there: 'ssh "+login(t)+" podman info'",
		"enable its socket, for the account: 'ssh "+login(t)+" systemctl --user enable --now podman.socket'",
		"or for the system: 'ssh "+login(t)+" sudo systemctl enable --now podman.socket'",
		"see who may use the socket: 'ssh "+login(t)+" ls -la /run/podman/podman.sock'",
		"and whether the account is among them: 'ssh "+login(t)+" groups'"),
		"Podman failed (%s): %w; %s", server(t, socket), err, only)
}
