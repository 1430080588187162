package helper

import (
	"context"
	"io"
	"os"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/transfer"
)

// machine is this target. Relative paths start from the login's home, also under
// sudo, which may set another.
func machine(rules transfer.Policy) transfer.Machine {
	home, err := os.UserHomeDir()
	if os.Getenv("SUDO_USER") != "" || err != nil {
		home = "?" // no path starts so: relative ones are refused
	}
	return transfer.Machine{Home: home, Rules: rules}
}

func transferVerb(ctx context.Context, r *frame.Request) (any, error) {
	switch r.Verb {
	case VerbScan:
		return struct{}{}, scan(ctx, r)
	case VerbFind:
		var req FindRequest
		if err := r.Decode(&req); err != nil {
			return nil, err
		}
		return transfer.FindDestination(machine(req.Rules), string(req.Path), req.One)
	case VerbSend:
		return struct{}{}, send(ctx, r)
	default:
		return struct{}{}, receive(ctx, r)
	}
}

func scan(ctx context.Context, r *frame.Request) error {
	var req ScanRequest
	if err := r.Decode(&req); err != nil {
		return err
	}
	return transfer.WriteScan(ctx, machine(req.Rules), req.ScanRequest, r.Stdout)
}

// duplex is the two streams of a call.
type duplex struct {
	io.Reader
	io.Writer
}

func send(ctx context.Context, r *frame.Request) error {
	var req SendRequest
	if err := r.Decode(&req); err != nil {
		return err
	}
	return transfer.Send(ctx, machine(req.Rules).Open, req.List, duplex{r.Stdin, r.Stdout}, transfer.SendOptions{Basis: req.Basis, Resume: req.Resume})
}

func receive(ctx context.Context, r *frame.Request) error {
	var req ReceiveRequest
	if err := r.Decode(&req); err != nil {
		return err
	}
	uid, gid, err := transfer.FindOwner(req.Owner, os.ReadFile)
	if err != nil {
		return diag.New(diag.Usage, "find owner", "", "%w", err)
	}
	tree, err := machine(req.Rules).Open(string(req.Dir))
	if err != nil {
		return err
	}
	defer tree.Close()
	return transfer.Receive(ctx, tree, duplex{r.Stdin, r.Stdout},
		transfer.ReceiveOptions{Mode: req.Mode, UID: uid, GID: gid, Resume: req.Resume})
}
