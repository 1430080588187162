package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"encoding/base64"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/neutral"
	"github.com/bowline-sh/bowline/profile"
)

type runOptions struct {
	target  string
	profile string
	timeout time.Duration
	cwd     string
	env     []string
	secrets []string
	stdin   bool
	script  string
	upload  bool
	json    bool
	raw     bool
	fleet   fleetOptions
}

const runHelp = `Run a command on a target, confined by bubblewrap under a profile. The command is
an argument vector: no shell reads it unless you name one.

By default the profile is "readonly": read-only mounts, no network, no
capabilities, a clean environment, 30 seconds, 10 MiB of output. 'bowline profile
list' shows the others. The command reads end of file unless --stdin is given.

With --script a local script is sent to its interpreter (its #! line, else sh)
through standard input, with ARGV as its arguments. It needs a profile that
allows the interpreter, such as "script". With --upload the script is placed on the
target instead, verified by its SHA-256, executed in the sandbox by its own #! line
(as /dev/bowline/FILE, so that it has a name and standard input is free), and removed
again whatever became of it. A target whose login has only directories mounted noexec
cannot execute it; the error says so.

Exit code: the command's own; 128+n if signal n ended it; 124 timed out; 125
Bowline itself failed, the message says how; 126 refused by profile or policy;
127 not found. With several targets: 0 if every one succeeded, else 1; 'bowline
run --retry-failed' runs it again on the others.`

const runExample = `  bowline run -t web1 -- journalctl -u nginx -n 50
  bowline run -t web1 -p diagnostics -- df -h
  bowline run -t web1 -p script --script check.sh -- /srv
  bowline run -t web1 -p script --script check.py --upload --env MODE=full -- /srv
  bowline run -t web1 --json -- cat /etc/os-release
  bowline run -t env=prod --wave 1,10%,100% -- systemctl is-active nginx`

func newRunCommand(env *Env) *cobra.Command {
	var opts runOptions
	cmd := &cobra.Command{
		Use:     "run [flags] [--] COMMAND [ARG...]",
		Short:   "Run a confined command on a target",
		Long:    runHelp,
		Example: runExample,
		RunE: func(cmd *cobra.Command, argv []string) error {
			return runRun(cmd.Context(), env, opts, argv)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	addTargetFlag(cmd, env, &opts.target)
	f.StringVarP(&opts.profile, "profile", "p", "", "profile, by name or file (default: the target's, else readonly)")
	f.DurationVar(&opts.timeout, "timeout", 0, "kill the command after this time, as in 90s or 5m (default: the profile's, else 30s)")
	f.StringVar(&opts.cwd, "cwd", "", "working directory inside; if it does not exist nothing runs")
	f.StringArrayVar(&opts.env, "env", nil, "set NAME=VALUE inside, or hand NAME on from here; may be repeated")
	f.StringArrayVar(&opts.secrets, "secret-env", nil, "like --env, but the value is kept out of every record")
	f.BoolVar(&opts.stdin, "stdin", false, "let the command read standard input")
	f.StringVar(&opts.script, "script", "", "send this local script to its interpreter")
	f.BoolVar(&opts.upload, "upload", false, "with --script: place the script on the target and execute it there")
	f.BoolVar(&opts.json, "json", false, "print one JSON document a target instead of the output")
	opts.fleet.flags(cmd)
	f.BoolVar(&opts.raw, "raw", false, "do not neutralise control characters on a terminal")
	completeProfiles(cmd, env)
	return cmd
}

func runRun(ctx context.Context, env *Env, opts runOptions, argv []string) error {
	req, err := opts.request(env, argv)
	if err != nil {
		return &commandExit{runCode(err), err}
	}
	err = env.withClient(ctx, func(c *bowline.Client) error {
		names, err := opts.targets(ctx, env, c)
		if err != nil {
			return &commandExit{runCode(err), err}
		}
		if len(names) != 1 || opts.fleet.retry {
			return env.runFleet(ctx, c, opts, req, names)
		}
		if code := runOne(ctx, env, c, opts, req, names[0]); code != 0 {
			return &commandExit{code: code}
		}
		return nil
	})
	if err != nil {
		if _, ok := errors.AsType[*commandExit](err); !ok {
			err = &commandExit{runCode(err), err}
		}
	}
	return err
}

// targets resolves what is to be worked on.
func (o runOptions) targets(ctx context.Context, env *Env, c *bowline.Client) ([]string, error) {
	if o.fleet.retry {
		if o.target != "" {
			return nil, diag.New(diag.Usage, "run", "leave out --target", "--retry-failed says which targets: those of the last fleet that did not succeed")
		}
		return c.LastFailed()
	}
	return targetNames(ctx, c, cmp.Or(o.target, env.Getenv("BOWLINE_TARGET")))
}

// targetNames resolves a selector. "" stays "": the configuration decides.
func targetNames(ctx context.Context, c *bowline.Client, selector string) ([]string, error) {
	if selector == "" || plainName(selector) {
		return []string{selector}, nil
	}
	list, err := c.Targets(ctx, selector)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(list))
	for i, t := range list {
		names[i] = t.Name
	}
	return names, nil
}

func plainName(s string) bool { return s != "all" && !strings.ContainsAny(s, ",!@=*?[") }

// request turns flags and arguments into a request without a target.
func (o runOptions) request(env *Env, argv []string) (bowline.RunRequest, error) {
	req := bowline.RunRequest{Profile: o.profile, Argv: argv, Cwd: o.cwd, Timeout: o.timeout, Env: map[string]string{}, Discard: !o.json}
	if o.timeout < 0 {
		return req, diag.New(diag.Usage, "run", "", "--timeout %s: must not be negative", o.timeout)
	}
	if o.stdin {
		req.Stdin = env.Stdin
	}
	if o.script != "" {
		script, err := readScript(o.script)
		if err != nil {
			return req, err
		}
		req.Script, req.Upload, req.File = script, o.upload, filepath.Base(o.script)
		if !o.upload {
			if req.Argv, err = bowline.ScriptArgv(script, argv); err != nil {
				return req, err
			}
		}
	} else if o.upload {
		return req, diag.New(diag.Usage, "run", "name it: 'bowline run --script FILE --upload'", "--upload needs a local script")
	}
	if len(req.Argv) == 0 && !o.upload {
		return req, diag.New(diag.Usage, "run", "type it after '--': 'bowline run -t web1 -- uptime'", "the command is missing")
	}
	err := o.environment(env, &req)
	return req, err
}

// maxScript bounds a script that is sent, in bytes.
const maxScript = 16 << 20

func readScript(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxScript) {
		err = fmt.Errorf("%s: not a regular file of at most %d bytes", name, maxScript)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(name)
	}
	if err == nil && len(data) == 0 {
		err = fmt.Errorf("%s: the script is empty", name)
	}
	if err != nil {
		return nil, diag.New(diag.Usage, "read script", "", "%w", err)
	}
	return data, nil
}

func (o runOptions) environment(env *Env, req *bowline.RunRequest) error {
	for _, list := range [][]string{o.env, o.secrets} {
		for _, kv := range list {
			k, v, ok := strings.Cut(kv, "=")
			if !profile.ValidEnvName(k) {
				return diag.New(diag.Usage, "read --env", "", "%q is not a variable name", k)
			}
			if !ok {
				v = env.Getenv(k)
			}
			req.Env[k] = v
		}
	}
	for _, kv := range o.secrets {
		k, _, _ := strings.Cut(kv, "=")
		req.Secrets = append(req.Secrets, k)
	}
	return nil
}

// runOne runs the command on one target, shows what came of it, and returns the
// exit code.
func runOne(ctx context.Context, env *Env, c *bowline.Client, opts runOptions, req bowline.RunRequest, name string) int {
	req.Target = name
	if opts.json {
		res, err := c.Run(ctx, req)
		return env.printResult(res, err)
	}
	out, flushOut := env.outputTo(env.Stdout, opts.raw)
	errw, flushErr := env.outputTo(env.Stderr, opts.raw)
	req.Stdout, req.Stderr = out, errw
	res, err := c.Run(ctx, req)
	if ferr := errors.Join(flushOut(), flushErr()); ferr != nil && err == nil {
		err = fmt.Errorf("write output: %w", ferr)
	}
	return env.conclude(res, err)
}

// outputTo returns a writer to w that is safe if w is a terminal.
func (env *Env) outputTo(w io.Writer, raw bool) (io.Writer, func() error) {
	if raw || !env.Terminal(w) {
		return w, func() error { return nil }
	}
	s := neutral.NewWriter(w)
	return s, s.Flush
}

// conclude says what a person must know beyond the output.
func (env *Env) conclude(res bowline.RunResult, err error) int {
	if res.Truncated {
		env.note("OUTPUT TRUNCATED: the command wrote %d bytes to standard output and %d to standard error, more than profile %s keeps", res.StdoutBytes, res.StderrBytes, res.Profile)
		env.note("hint: raise limits.output in a profile of your own, or ask for less, as with head or grep")
	}
	if err != nil {
		env.printError(err)
		if res.ExitCode != 0 && !errors.As(err, new(*diag.Error)) {
			return res.ExitCode
		}
		return runCode(err)
	}
	if res.TimedOut {
		env.note("timed out after %s; the command was killed on %s", res.Duration.Round(time.Millisecond), res.Target)
		env.note("hint: give it more time with --timeout, as in '--timeout 5m'")
	}
	return res.ExitCode
}

// jsonRun is the document of "run --json".
type jsonRun struct {
	SchemaVersion  int      `json:"schema_version"`
	Target         string   `json:"target"`
	Profile        string   `json:"profile"`
	Argv           []string `json:"argv"`
	ExitCode       int      `json:"exit_code"`
	Signal         string   `json:"signal,omitempty"`
	Stdout         string   `json:"stdout"`
	StdoutEncoding string   `json:"stdout_encoding"` // "utf-8" or "base64"
	Stderr         string   `json:"stderr"`
	StderrEncoding string   `json:"stderr_encoding"`
	StdoutBytes    int64    `json:"stdout_bytes"` // written by the command, dropped bytes included
	StderrBytes    int64    `json:"stderr_bytes"`
	DurationMS     float64  `json:"duration_ms"`
	TimedOut       bool     `json:"timed_out"`
	Truncated      bool     `json:"truncated"`
	AuditID        string   `json:"audit_id"`
	// Class stands in the documents of a fleet: how the target ended, in one word.
	Class bowline.Class `json:"class,omitempty"`
	Error *jsonError    `json:"error,omitempty"`
}

func (env *Env) printResult(res bowline.RunResult, err error) int {
	doc := newJSONRun(res, err)
	if werr := printJSON(env.Stdout, doc); werr != nil {
		env.printError(fmt.Errorf("write output: %w", werr))
		return codeFailed
	}
	return doc.ExitCode
}

func newJSONRun(res bowline.RunResult, err error) jsonRun {
	doc := jsonRun{
		SchemaVersion: schemaVersion, Target: res.Target, Profile: res.Profile, Argv: utf8Args(res.Argv), ExitCode: res.ExitCode, Signal: res.Signal,
		StdoutBytes: res.StdoutBytes, StderrBytes: res.StderrBytes, DurationMS: float64(res.Duration.Microseconds()) / 1000,
		TimedOut: res.TimedOut, Truncated: res.Truncated, AuditID: res.AuditID, Error: newJSONError(err),
	}
	doc.Stdout, doc.StdoutEncoding = encodeOutput(res.Stdout)
	doc.Stderr, doc.StderrEncoding = encodeOutput(res.Stderr)
	if err != nil {
		doc.ExitCode = runCode(err)
	}
	return doc
}

func encodeOutput(b []byte) (text, encoding string) {
	if utf8.Valid(b) {
		return string(b), "utf-8"
	}
	return base64.StdEncoding.EncodeToString(b), "base64"
}

// utf8Args shows arguments that JSON cannot hold as escapes.
func utf8Args(argv []string) []string {
	out := slices.Clone(argv)
	for i, a := range out {
		if !utf8.ValidString(a) {
			out[i] = strings.ToValidUTF8(a, "\ufffd")
		}
	}
	return out
}

// addTargetFlag adds -t/--target and its older name.
func addTargetFlag(cmd *cobra.Command, env *Env, to *string) {
	f := cmd.Flags()
	f.StringVarP(to, "target", "t", "", "target or selector (default: $BOWLINE_TARGET, then default_target, then local)")
	f.StringVar(to, "executor", "", "older name of --target")
	_ = f.MarkHidden("executor") // the flag was just added
	_ = cmd.RegisterFlagCompletionFunc("target", completeTargets(env))
	_ = cmd.RegisterFlagCompletionFunc("executor", completeTargets(env))
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
