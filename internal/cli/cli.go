// Package cli is the command line: it parses, calls package bowline, and shows.
//
// # Rules of its output
//
//   - Standard output is the answer; standard error is the conversation: errors,
//     hints, notes, questions. With --json standard output holds one document,
//     or one a line, each with "schema_version": 1.
//   - Lines on standard error start with "bowline: "; a remedy with "bowline:
//     hint: " and holds the command to type.
//   - Questions are asked on a terminal only. Elsewhere the call fails and names
//     the flag that answers.
//   - Text from a target is neutralised before a terminal sees it. Bytes that go
//     to a file or a pipe are left alone.
//   - Colour only on a terminal, never with NO_COLOR.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// Env is the world of one invocation. All fields are required but Open.
type Env struct {
	Args   []string // without the program's name
	Stdin  *os.File
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	// Terminal says whether a stream is one; asked of Stdin, Stdout, Stderr.
	Terminal func(stream any) bool
	Version  string

	quiet   bool
	verbose bool
}

// Main runs the command line of this process and returns its exit code.
func Main(version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return Run(ctx, &Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Terminal: isTerminal, Version: version,
	})
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Run executes one command line and returns the exit code.
func Run(ctx context.Context, env *Env) int {
	root := NewRoot(env)
	root.SetArgs(env.Args)
	return env.report(root.ExecuteContext(ctx))
}

// NewRoot builds the command tree. Nothing happens before it is executed.
func NewRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:           "bowline",
		Short:         "Run things on remote Linux hosts: confined, reviewed, on record",
		Long:          rootHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          noCommand,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateFlagGroups(); err != nil { // cobra's own check comes later and is no usage error
				return usageError(cmd, err)
			}
			return nil
		},
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, err) })
	flags := root.PersistentFlags()
	flags.BoolVarP(&env.quiet, "quiet", "q", false, "say nothing but answers and errors")
	flags.BoolVarP(&env.verbose, "verbose", "v", false, "say what is being done")
	root.AddGroup(&cobra.Group{ID: "work", Title: "Work:"}, &cobra.Group{ID: "setup", Title: "Set-up:"}, &cobra.Group{ID: "record", Title: "Record:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("work", newRunCommand(env), newCopyCommand(env), newPlanCommand(env), newSessionCommand(env), newReviewCommand(env), newDiffCommand(env), newApproveCommand(env),
		newRejectCommand(env), newApplyCommand(env), newConfirmCommand(env), newRollbackCommand(env), newFreezeCommand(env), newUnfreezeCommand(env), newBoxCommand(env))
	add("setup", newInitCommand(env), newTargetCommand(env), newProfileCommand(env), newPolicyCommand(env), newLinkCommand(env), newKeysCommand(env), newConfigCommand(env), newDoctorCommand(env), newMCPCommand(env), newServeCommand(env), newTokenCommand(env), newStoreCommand(env))
	add("record", newAuditCommand(env))
	root.AddCommand(newVersionCommand(env), newCompletionCommand(env))
	return root
}

const rootHelp = `Bowline runs things on remote Linux hosts, for people and for AI agents, so that
nothing changes unreviewed and everything is on record. A host needs sshd and
bubblewrap, nothing else.

Start with 'bowline init', or 'bowline target add NAME USER@HOST', then
'bowline run -t NAME -- COMMAND'.

Exit codes: 0 success, 1 failure, 2 wrong usage, 10 target unreachable, 11 host
key not trusted, 12 denied, 13 conflict, 14 partial. 'run' has its own, see
'bowline run --help'.`

// usageError is what a wrong command line ends with.
func usageError(cmd *cobra.Command, err error) error {
	return diag.New(diag.Usage, "", "see '"+cmd.CommandPath()+" --help'", "%w", err)
}

// args turns cobra's check of positional arguments into a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if err := check(cmd, a); err != nil {
			return usageError(cmd, err)
		}
		return nil
	}
}

// noCommand is for commands that only group others: a word that names none of
// them is a mistake, not a request for help.
func noCommand(cmd *cobra.Command, a []string) error {
	if len(a) == 0 {
		return cmd.Help()
	}
	hint := "see '" + cmd.CommandPath() + " --help'"
	cmd.SuggestionsMinimumDistance = 2 // letters apart, as cobra's own messages use
	if near := cmd.SuggestionsFor(a[0]); len(near) > 0 {
		hint = "did you mean '" + cmd.CommandPath() + " " + strings.Join(near, "' or '"+cmd.CommandPath()+" ") + "'?"
	}
	return diag.New(diag.Usage, "", hint, "unknown command %q for %q", a[0], cmd.CommandPath())
}

// program is the path of this program, "" if the system does not say.
func program() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	return path
}

// withClient opens a Client for the length of f.
func (env *Env) withClient(ctx context.Context, f func(c *bowline.Client) error) error {
	c, err := bowline.Open(ctx, bowline.Config{
		Surface: "cli", Prompt: env.prompt(), DialAttempts: 3, Build: env.build(), Spawn: env.spawnLinks(), Program: program(),
		Notify: func(note string) {
			if !env.quiet {
				env.note("%s", note)
			}
		},
	})
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.Close())
}
