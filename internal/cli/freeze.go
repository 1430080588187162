package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

const freezeHelp = `Let nothing begin on the targets of SELECTOR, or on any: no run, no plan, no apply and
no copy, through whatever surface, until 'bowline unfreeze'. What runs goes on, an apply
that was broken off is not resumed, and 'bowline rollback' stays possible.

It holds on this client at once. Unless --here is given, it is also written to
/etc/bowline/freeze on every target, as root or through 'sudo -n', and holds there for
every client: the helper obeys the file whatever a client says, and so do runs without
a helper. Where the login may not write it, the target is frozen from this client only,
and a line says so. Without SELECTOR, targets that are added later are frozen too.

Exit codes: 0 frozen everywhere asked for, 14 on some targets from this client only.`

const unfreezeHelp = `Lift what 'bowline freeze' did, here or on another client: on this client, and unless
--here is given by removing /etc/bowline/freeze on the targets. What another client
froze for itself stays frozen there.

Exit codes: 0 lifted, 12 a wider freeze holds, 14 some targets are still frozen.`

type freezeOptions struct {
	bowline.FreezeRequest
	asJSON bool
}

func newFreezeCommand(env *Env) *cobra.Command {
	var o freezeOptions
	cmd := &cobra.Command{
		Use: "freeze [SELECTOR]", Short: "Let nothing begin on targets until it is lifted", Long: freezeHelp,
		Example: "  bowline freeze --reason 'incident 4711'\n  bowline freeze env=prod --reason 'audit of the year'",
		Args:    args(cobra.MaximumNArgs(1)), ValidArgsFunction: completeTargets(env),
		RunE: func(cmd *cobra.Command, a []string) error { return env.freeze(cmd.Context(), o.on(a)) },
	}
	cmd.Flags().StringVar(&o.Reason, "reason", "", "why; everyone who is refused reads it")
	addFreezeFlags(cmd, &o)
	return cmd
}

func newUnfreezeCommand(env *Env) *cobra.Command {
	var o freezeOptions
	cmd := &cobra.Command{
		Use: "unfreeze [SELECTOR]", Short: "Lift a freeze", Long: unfreezeHelp,
		Args: args(cobra.MaximumNArgs(1)), ValidArgsFunction: completeTargets(env),
		RunE: func(cmd *cobra.Command, a []string) error { return env.unfreeze(cmd.Context(), o.on(a)) },
	}
	addFreezeFlags(cmd, &o)
	return cmd
}

func addFreezeFlags(cmd *cobra.Command, o *freezeOptions) {
	cmd.Flags().BoolVar(&o.Here, "here", false, "on this client only; connect to no target")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print one JSON document")
}

// on is o with the selector of a command line.
func (o freezeOptions) on(a []string) freezeOptions {
	if len(a) == 1 {
		o.Selector = a[0]
	}
	return o
}

// maxReason bounds a reason, in bytes.
const maxReason = 300

func (env *Env) freeze(ctx context.Context, o freezeOptions) error {
	if len(o.Reason) > maxReason {
		return diag.New(diag.Usage, "freeze", "say it shorter", "the reason has %d bytes; at most %d are kept", len(o.Reason), maxReason)
	}
	return env.withClient(ctx, func(c *bowline.Client) error {
		f, there, err := c.Freeze(ctx, o.FreezeRequest)
		if err != nil {
			return err
		}
		if o.asJSON {
			return env.freezeJSON(freezeDoc{SchemaVersion: schemaVersion, Freeze: &f, Here: true}, there)
		}
		fmt.Fprintf(env.Stdout, "this client: nothing begins on %s\n", cmp.Or(o.Selector, "any target"))
		return env.sayFrozen(there)
	})
}

func (env *Env) sayFrozen(there []bowline.FreezeResult) error {
	bad := 0
	for _, r := range there {
		switch {
		case r.Err != nil:
			bad++
			env.note("%s is frozen from this client only: %v", r.Target, r.Err)
			env.hint(r.Err)
		case r.Did == "already":
			fmt.Fprintf(env.Stdout, "%s: already %s\n", r.Target, safe(r.Found.String()))
		default:
			fmt.Fprintf(env.Stdout, "%s: frozen for every client\n", r.Target)
		}
	}
	return partly(bad, "freeze", "%d of %d targets are frozen from this client only", len(there))
}

func (env *Env) hint(err error) {
	if h := diag.HintOf(err); h != "" {
		env.note("hint: %s", h)
	}
}

// partly is the error of something that failed on some targets.
func partly(bad int, op, format string, of int) error {
	if bad == 0 {
		return nil
	}
	return diag.New(diag.Partial, op, "", format, bad, of)
}

func (env *Env) unfreeze(ctx context.Context, o freezeOptions) error {
	return env.withClient(ctx, func(c *bowline.Client) error {
		lifted, there, err := c.Unfreeze(ctx, o.FreezeRequest)
		if err != nil {
			return err
		}
		if o.asJSON {
			return env.freezeJSON(freezeDoc{SchemaVersion: schemaVersion, Lifted: lifted}, there)
		}
		for _, name := range lifted {
			fmt.Fprintf(env.Stdout, "this client: lifted %s\n", name)
		}
		bad := 0
		for _, r := range there {
			switch {
			case r.Err != nil:
				bad++
				env.note("%s may still be frozen: %v", r.Target, r.Err)
				env.hint(r.Err)
			case r.Did == "lifted":
				fmt.Fprintf(env.Stdout, "%s: lifted for every client\n", r.Target)
			}
		}
		if len(lifted) == 0 && bad == 0 {
			env.say("nothing was frozen by this client")
		}
		return partly(bad, "unfreeze", "%d of %d targets may still be frozen", len(there))
	})
}

// freezeDoc is what became of a freeze, as JSON.
type freezeDoc struct {
	SchemaVersion int               `json:"schema_version"`
	Freeze        *bowline.Frozen   `json:"freeze,omitempty"`
	Here          bool              `json:"here"`
	Lifted        []string          `json:"lifted,omitempty"`
	Targets       []jsonFreezeThere `json:"targets"`
}

type jsonFreezeThere struct {
	Target string          `json:"target"`
	Did    string          `json:"did,omitempty"` // set, already, lifted, none
	Found  *bowline.Frozen `json:"found,omitempty"`
	Error  *jsonError      `json:"error,omitempty"`
}

func (env *Env) freezeJSON(doc freezeDoc, there []bowline.FreezeResult) error {
	doc.Targets = []jsonFreezeThere{}
	bad := 0
	for _, r := range there {
		t := jsonFreezeThere{Target: r.Target, Did: r.Did, Error: newJSONError(r.Err)}
		if r.Did == "already" {
			t.Found = &r.Found
		}
		if r.Err != nil {
			bad++
		}
		doc.Targets = append(doc.Targets, t)
	}
	if err := printJSON(env.Stdout, doc); err != nil {
		return err
	}
	return partly(bad, "freeze", "it failed on %d of %d targets", len(there))
}
