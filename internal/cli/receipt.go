package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

func newSessionExport(env *Env) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "export ID", Short: "Write a session's receipt", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeSessions(env),
		Long: `Write one file with everything about a session: script, plan, decisions, what commands
said, and the audit entries with their place in the log. It can be checked anywhere with
'bowline session verify FILE'.`,
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to this new file (default: standard output)")
	cmd.RunE = withSession(env, func(ctx context.Context, c *bowline.Client, s bowline.Session) error {
		b, err := c.ExportSession(ctx, s.ID)
		if err != nil {
			return err
		}
		if file == "" {
			_, err = env.Stdout.Write(b)
			return err
		}
		return writeNew(file, b)
	})
	return cmd
}

// writeNew writes a file that must not exist yet, readable by its owner.
func writeNew(file string, b []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return diag.New(diag.Usage, "write receipt", "name another file with --output", "%s exists; it is left alone", file)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// maxReceipt bounds a receipt that is read, in bytes.
const maxReceipt = 1 << 30

func newSessionVerify(env *Env) *cobra.Command {
	var asJSON bool
	var signersFile string
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Check a receipt, with nothing but the file", Args: args(cobra.ExactArgs(1)),
		Long: `Check a receipt that 'bowline session export' wrote: that it is as it was written, and
that its plan, decisions, audit entries and status agree with each other. With --signers,
an allowed_signers file as in ssh-keygen(1), the signatures of approvals are checked too.

Exit codes: 0 everything agrees, 13 something does not.`,
		RunE: func(_ *cobra.Command, a []string) error {
			info, err := os.Stat(a[0])
			if err == nil && info.Size() > maxReceipt {
				err = fmt.Errorf("%s: larger than %d bytes", a[0], maxReceipt)
			}
			var b []byte
			if err == nil {
				b, err = os.ReadFile(a[0])
			}
			if err != nil {
				return diag.New(diag.Usage, "read receipt", "", "%w", err)
			}
			signers, err := readSigners(signersFile)
			if err != nil {
				return err
			}
			r, err := bowline.VerifyReceipt(b, signers)
			if err != nil {
				return err
			}
			if err := env.showReceipt(r, asJSON); err != nil {
				return err
			}
			if !r.OK {
				return &commandExit{code: exitCode[diag.Conflict]}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().StringVar(&signersFile, "signers", "", "who may sign approvals; without it signatures are not checked")
	return cmd
}

// readSigners reads an allowed_signers file; "" gives "".
func readSigners(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err == nil && len(bytes.TrimSpace(b)) == 0 {
		err = fmt.Errorf("%s is empty", file)
	}
	if err != nil {
		return "", diag.New(diag.Usage, "read signers", "see ALLOWED SIGNERS in 'man ssh-keygen'", "%w", err)
	}
	return string(b), nil
}

func newRequireSignature(env *Env) *cobra.Command {
	var req bowline.SignatureRequest
	var file string
	cmd := &cobra.Command{
		Use: "require-signature NAME --signers FILE", Short: "Plan that a target applies only signed approvals", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeTargets(env),
		Long: `Plan a change to the target after which it checks itself, before it applies anything,
that the approval was signed by a key that FILE names (an allowed_signers file as in
ssh-keygen(1), with the namespace bowline-approval) and that the plan was made for this
host, whatever the client says. The files are /etc/bowline/allowed_signers and host_keys.
Approve and apply the session as any other. People then sign with approval.sign = true in
their configuration.`,
		RunE: func(cmd *cobra.Command, a []string) error {
			if file == "" {
				return diag.New(diag.Usage, "require signatures", "add --signers FILE", "who may sign is missing")
			}
			text, err := readSigners(file)
			if err != nil {
				return err
			}
			req.Target, req.Signers = a[0], text
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				s, err := c.RequireSignature(cmd.Context(), req)
				if err != nil {
					return err
				}
				env.showSession(cmd.Context(), c, s)
				env.say("approve it with 'bowline approve %s', then 'bowline apply %s'", s.ID, s.ID)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&file, "signers", "", "who may sign; required")
	cmd.Flags().BoolVar(&req.AsRoot, "as-root", false, "as root, through 'sudo -n' on the target")
	return cmd
}

func (env *Env) showReceipt(r bowline.Receipt, asJSON bool) error {
	if asJSON {
		return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "session": r.Session, "target": r.Target, "status": r.Status, "ok": r.OK, "findings": r.Findings})
	}
	fmt.Fprintf(env.Stdout, "%s on %s: %s\n", safe(r.Session), safe(r.Target), safe(r.Status))
	for _, f := range r.Findings {
		mark := env.colour(green, "ok   ")
		if !f.OK {
			mark = env.colour(red, "WRONG")
		}
		fmt.Fprintf(env.Stdout, "  %s %-9s %s\n", mark, f.Name, safe(f.Detail))
	}
	return nil
}
