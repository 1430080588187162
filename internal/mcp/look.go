package mcp

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

type targetsIn struct {
	Selector string `json:"selector,omitempty" jsonschema:"names, labels (env=prod), groups (@name), ! excludes"`
	Test     bool   `json:"test,omitempty" jsonschema:"connect to the one target and check it"`
}

type targetsOut struct {
	Targets  []targetOut  `json:"targets"`
	Profiles []profileOut `json:"profiles"`
	Checks   []checkOut   `json:"checks,omitempty"`
}

type targetOut struct {
	Name    string            `json:"name"`
	Host    string            `json:"host,omitempty"`
	User    string            `json:"user,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Profile string            `json:"profile,omitempty"`
	Default bool              `json:"default,omitempty"`
}

type profileOut struct {
	Name  string `json:"name"`
	About string `json:"about,omitempty"`
}

type checkOut struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

func (s *Server) targets(ctx context.Context, _ call, in targetsIn) (string, targetsOut, error) {
	out := targetsOut{Targets: []targetOut{}, Profiles: []profileOut{}}
	list, err := s.allowed(ctx, in.Selector)
	if err != nil {
		return "", out, err
	}
	var b strings.Builder
	for _, t := range list {
		o := targetOut{Name: t.Name, Host: t.Host, User: t.User, Labels: t.Labels, Profile: t.Profile, Default: t.Default}
		out.Targets = append(out.Targets, o)
		fmt.Fprintf(&b, "%s  %s@%s", o.Name, cmp.Or(o.User, "-"), cmp.Or(o.Host, "this machine"))
		for _, k := range slices.Sorted(keys(o.Labels)) {
			fmt.Fprintf(&b, " %s=%s", k, o.Labels[k])
		}
		if o.Default {
			b.WriteString(" (default)")
		}
		b.WriteByte('\n')
	}
	profiles, err := s.profiles(ctx)
	if err != nil {
		return "", out, err
	}
	b.WriteString("profiles:\n")
	for _, p := range profiles {
		out.Profiles = append(out.Profiles, profileOut{p.Profile.Name, line(p.Profile.Description, 200)})
		fmt.Fprintf(&b, "  %s  %s\n", p.Profile.Name, line(p.Profile.Description, 200))
	}
	if in.Test {
		return s.test(ctx, in, out, &b)
	}
	return b.String(), out, nil
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (s *Server) test(ctx context.Context, in targetsIn, out targetsOut, b *strings.Builder) (string, targetsOut, error) {
	name, err := s.one(ctx, in.Selector)
	if err != nil {
		return "", out, err
	}
	report, err := s.cfg.Client.TestTarget(ctx, name, false)
	if err != nil {
		return "", out, err
	}
	fmt.Fprintf(b, "checks of %s:\n", name)
	for _, c := range report.Checks {
		out.Checks = append(out.Checks, checkOut{c.Name, c.OK, s.line(c.Detail, 300)})
		fmt.Fprintf(b, "  %s: %v, %s\n", c.Name, c.OK, s.line(c.Detail, 300))
	}
	return b.String(), out, nil
}

type runIn struct {
	Target     string            `json:"target,omitempty" jsonschema:"name or selector; default: the default target"`
	Argv       []string          `json:"argv,omitempty" jsonschema:"command and arguments; no shell. With script: the script's arguments"`
	Script     string            `json:"script,omitempty" jsonschema:"script text, run by its #! line, else sh; needs a profile that allows it"`
	Profile    string            `json:"profile,omitempty"`
	Cwd        string            `json:"cwd,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	Stdin      string            `json:"stdin,omitempty"`
	Timeout    int               `json:"timeout_seconds,omitempty" jsonschema:"default: the profile's, else 30"`
	Background bool              `json:"background,omitempty" jsonschema:"return a handle at once"`
}

type runOut struct {
	Results []resultOut `json:"results,omitempty"`
	Handle  string      `json:"handle,omitempty" jsonschema:"of a background command"`
}

type resultOut struct {
	Targets   []string `json:"targets" jsonschema:"with this very result"`
	ExitCode  int      `json:"exit_code"`
	Stdout    string   `json:"stdout,omitempty"`
	Stderr    string   `json:"stderr,omitempty"`
	Seconds   float64  `json:"seconds"`
	TimedOut  bool     `json:"timed_out,omitempty"`
	Truncated bool     `json:"truncated,omitempty"`
	Handle    string   `json:"handle,omitempty" jsonschema:"of the whole output, for 'output'"`
	Error     string   `json:"error,omitempty"`
	AuditID   string   `json:"audit_id,omitempty"`
}

// maxText bounds a script or input, in bytes.
const maxText = 1 << 20

func (s *Server) run(ctx context.Context, c call, in runIn) (string, runOut, error) {
	req, err := s.request(ctx, in)
	if err != nil {
		return "", runOut{}, err
	}
	list, err := s.allowed(ctx, in.Target)
	if err != nil {
		return "", runOut{}, err
	}
	if in.Background {
		return s.background(c, in, req)
	}
	if in.Target != "" && len(list) != 1 {
		return s.fleet(ctx, c, req, list)
	}
	if req.Target, err = s.one(ctx, in.Target); err != nil {
		return "", runOut{}, err
	}
	res, err := s.watched(ctx, c, req)
	if err != nil {
		return "", runOut{}, err
	}
	out := s.result(c, res)
	return describe(out), runOut{Results: []resultOut{out}}, nil
}

// request checks what a model asked for.
func (s *Server) request(ctx context.Context, in runIn) (bowline.RunRequest, error) {
	usage := func(hint, format string, args ...any) (bowline.RunRequest, error) {
		return bowline.RunRequest{}, diag.New(diag.Usage, "run", hint, format, args...)
	}
	switch {
	case in.Timeout < 0:
		return usage("leave it out, or give seconds", "timeout_seconds %d is negative", in.Timeout)
	case len(in.Script) > maxText || len(in.Stdin) > maxText:
		return usage("copy a file with 'copy'", "a script or input of more than %d bytes", maxText)
	case len(in.Argv) == 0 && in.Script == "":
		return usage(`give argv, as in ["uptime"]`, "there is neither argv nor script")
	}
	profile, err := s.profile(ctx, in.Profile)
	if err != nil {
		return bowline.RunRequest{}, err
	}
	req := bowline.RunRequest{Profile: profile, Argv: in.Argv, Env: in.Env, Cwd: in.Cwd, Timeout: time.Duration(in.Timeout) * time.Second}
	if in.Stdin != "" {
		req.Stdin = strings.NewReader(in.Stdin)
	}
	if in.Script == "" {
		return req, nil
	}
	req.Script = []byte(in.Script)
	req.Argv, err = bowline.ScriptArgv(req.Script, in.Argv)
	return req, err
}

// watched runs a command and tells the client that it still does.
func (s *Server) watched(ctx context.Context, c call, req bowline.RunRequest) (bowline.RunResult, error) {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		began := time.Now()
		for tick := time.NewTicker(2 * time.Second); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				c.progress(ctx, time.Since(began).Seconds(), "running for "+time.Since(began).Round(time.Second).String())
			}
		}
	}()
	return s.cfg.Client.Run(ctx, req)
}

// result makes what came of a command fit for a model.
func (s *Server) result(c call, res bowline.RunResult) resultOut {
	out := resultOut{
		Targets: []string{res.Target}, ExitCode: res.ExitCode, Seconds: res.Duration.Seconds(), TimedOut: res.TimedOut, Truncated: res.Truncated, AuditID: res.AuditID,
	}
	stdout, stderr := s.clean(res.Stdout), s.clean(res.Stderr)
	var cutOut, cutErr bool
	out.Stdout, cutOut = ends(stdout)
	out.Stderr, cutErr = ends(stderr)
	if cutOut || cutErr {
		out.Truncated = true
		o := s.outs.add(c.who.Client, res.Target, s.line(strings.Join(res.Argv, " "), 200))
		_, _ = o.Write(slices.Concat(res.Stdout, res.Stderr)) // it never fails
		o.end(fmt.Sprintf("exit code %d", res.ExitCode), false)
		out.Handle = o.id
	}
	return out
}

// clean masks and neutralises bytes of a host.
func (s *Server) clean(b []byte) string { return lines(s.cfg.Client.Mask(string(b))) }

// describe is a result as text.
func describe(r resultOut) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: exit code %d after %.2f s", strings.Join(r.Targets, ", "), r.ExitCode, r.Seconds)
	if r.TimedOut {
		b.WriteString(", timed out and killed; give it more time with timeout_seconds")
	}
	if r.Error != "" {
		b.WriteString(", " + r.Error)
	}
	b.WriteByte('\n')
	from := r.Targets[0]
	if len(r.Targets) > 1 {
		from = fmt.Sprintf("%d targets", len(r.Targets))
	}
	if r.Stdout != "" {
		b.WriteString("standard output:\n" + untrusted(from, r.Stdout) + "\n")
	}
	if r.Stderr != "" {
		b.WriteString("standard error:\n" + untrusted(from, r.Stderr) + "\n")
	}
	if r.Handle != "" {
		b.WriteString("The output is longer; page through it with 'output', handle " + r.Handle + "\n")
	}
	return b.String()
}

type readIn struct {
	Target string `json:"target,omitempty"`
	Path   string `json:"path"`
	From   int    `json:"from_line,omitempty" jsonschema:"first line, from 1; negative: counted from the end"`
	Lines  int    `json:"lines,omitempty" jsonschema:"how many; default: all that fits"`
}

func (s *Server) readFile(ctx context.Context, c call, in readIn) (string, runOut, error) {
	if err := absolute(in.Path); err != nil {
		return "", runOut{}, err
	}
	argv := []string{"cat", "--", in.Path}
	switch {
	case in.Lines < 0:
		return "", runOut{}, diag.New(diag.Usage, "read file", "leave it out for all", "lines is %d", in.Lines)
	case in.From < 0:
		argv = []string{"tail", "-n", strconv.Itoa(-in.From), "--", in.Path}
	case in.Lines > 0:
		argv = []string{"head", "-n", strconv.Itoa(max(in.From, 1) + in.Lines - 1), "--", in.Path}
	case in.From > 1:
		argv = []string{"tail", "-n", "+" + strconv.Itoa(in.From), "--", in.Path}
	}
	req, err := s.request(ctx, runIn{Argv: argv})
	if err != nil {
		return "", runOut{}, err
	}
	if req.Target, err = s.one(ctx, in.Target); err != nil {
		return "", runOut{}, err
	}
	res, err := s.watched(ctx, c, req)
	if err != nil {
		return "", runOut{}, err
	}
	if in.Lines > 0 {
		res.Stdout = skipLines(res.Stdout, in.From-1)
	}
	out := s.result(c, res)
	return describe(out), runOut{Results: []resultOut{out}}, nil
}

// skipLines leaves out the first n lines.
func skipLines(b []byte, n int) []byte {
	for ; n > 0 && len(b) > 0; n-- {
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	return b
}

// absolute checks a path that becomes an argument.
func absolute(p string) error {
	if !path.IsAbs(p) || strings.ContainsRune(p, 0) {
		return diag.New(diag.Usage, "read file", "give the whole path, as in /etc/hosts", "the path %q is not absolute", line(p, 200))
	}
	return nil
}

type searchIn struct {
	Target  string `json:"target,omitempty"`
	Path    string `json:"path"`
	Pattern string `json:"pattern,omitempty" jsonschema:"extended regular expression; none lists names"`
	Name    string `json:"name,omitempty" jsonschema:"glob of file names, as in *.conf"`
	Max     int    `json:"max_per_file,omitempty"`
}

func (s *Server) search(ctx context.Context, c call, in searchIn) (string, runOut, error) {
	if err := absolute(in.Path); err != nil {
		return "", runOut{}, err
	}
	if in.Pattern == "" {
		argv := []string{"find", in.Path, "-xdev"}
		if in.Name != "" {
			argv = append(argv, "-name", in.Name)
		}
		return s.run(ctx, c, runIn{Target: in.Target, Argv: append(argv, "-print")})
	}
	argv := []string{"grep", "-HrnIE", "-m", strconv.Itoa(max(cmp.Or(in.Max, 50), 1))}
	if in.Name != "" {
		argv = append(argv, "--include="+in.Name)
	}
	return s.run(ctx, c, runIn{Target: in.Target, Argv: append(argv, "-e", in.Pattern, "--", in.Path)})
}
