package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

type copyOptions struct {
	recursive bool
	resume    bool
	mode      string
	owner     string
	timeout   time.Duration
	json      bool
}

const copyHelp = `Copy files between this machine and a target, or between two targets, and verify
every one: it goes to a temporary name beside its own, is hashed on both sides,
synced and renamed. An existing file survives whatever goes wrong.

A path on a target is written TARGET:PATH, as with scp. It is absolute or starts
from the login's home; *, ? and [] in it stand for names, which no shell reads.
A local name with a colon is written ./a:b; "-" is standard input or output, for
one file. If DST is a directory, copies go into it, as with cp; SRC/. means what
is in SRC.

Modes and times are kept, owners are not. With -r symbolic links are copied as
links, hard links become files of their own, and fifos, sockets and devices are
left out. Sparse files stay sparse.

Of each file the outcome is verified, mismatched (the bytes differ; not put in
place), unverified (in place, but nothing on the target could compute a digest),
changed (it changed while it was read; not put in place) or failed. Only verified
is success. A digest that a target computes finds accidents, not a hostile target.

With --resume, what arrived of a copy that is broken off stays on the other side
under a hidden name, and the same call goes on from there. Of a file of 1 MiB or
more that stands at DST in an older version only what is new is sent, wherever in
the file it is; this needs the helper.

Paths of targets can be limited in the configuration:
  [transfer]
  allow  = ["/srv", "/var/log"]
  refuse = ["/srv/secret"]

Exit codes: 0 everything is in place and verified, 1 failure (unverified, changed
and partly copied included), 2 wrong usage, 10 target unreachable, 11 host key not
trusted, 12 path refused or denied, 13 mismatched, 130 stopped.`

const copyExample = `  bowline cp app.tar.gz web1:/srv/app/
  bowline cp -r web1:/var/log/nginx ./logs
  bowline cp --resume image.iso web1:
  bowline cp 'web1:/etc/*.conf' conf/
  bowline cp web1:/srv/data.db web2:/srv/data.db`

func newCopyCommand(env *Env) *cobra.Command {
	var opts copyOptions
	cmd := &cobra.Command{
		Use:     "cp [flags] SRC... DST",
		Short:   "Copy files to and from targets, verified",
		Long:    copyHelp,
		Example: copyExample,
		Args:    args(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return runCopy(cmd.Context(), env, opts, argv)
		},
	}
	opts.add(cmd.Flags())
	cmd.Flags().StringVar(&opts.owner, "owner", "", "USER:GROUP of what is made; needs root, or become for the target")
	return cmd
}

func (opts *copyOptions) add(f *pflag.FlagSet) {
	f.BoolVarP(&opts.recursive, "recursive", "r", false, "copy directories with what is in them")
	f.BoolVar(&opts.resume, "resume", false, "go on where this copy was broken off, and keep what arrives if it is again")
	f.StringVar(&opts.mode, "mode", "", "mode of copied files, in octal as in 0640 (default: that of the source)")
	f.DurationVar(&opts.timeout, "timeout", 0, "give up after this time, connecting included, as in 10m (default: never)")
	f.BoolVar(&opts.json, "json", false, "print one JSON document with the outcome of every file")
}

func runCopy(ctx context.Context, env *Env, opts copyOptions, argv []string) error {
	req, err := opts.request(env, argv)
	if err != nil {
		return err
	}
	return env.withClient(ctx, func(c *bowline.Client) error { return env.copyFiles(ctx, opts, req, c.Copy) })
}

// copyFiles copies, shows how far that is, and what came of it.
func (env *Env) copyFiles(ctx context.Context, opts copyOptions, req bowline.CopyRequest, do func(context.Context, bowline.CopyRequest) (bowline.CopyResult, error)) error {
	show := env.startProgress(opts.json)
	if show != nil {
		req.Progress = show.update
	}
	res, err := do(ctx, req)
	if show != nil {
		show.stop()
	}
	if opts.json {
		return env.printCopyJSON(res, err)
	}
	env.concludeCopy(res, req, err)
	return err
}

func (o copyOptions) request(env *Env, argv []string) (bowline.CopyRequest, error) {
	req := bowline.CopyRequest{Recursive: o.recursive, Resume: o.resume, Owner: o.owner, Timeout: o.timeout, Stdin: env.Stdin, Stdout: env.Stdout}
	for _, a := range argv {
		req.Sources = append(req.Sources, copyLocation(a))
	}
	req.Dest = req.Sources[len(argv)-1]
	req.Sources = req.Sources[:len(argv)-1]
	if o.mode != "" {
		m, err := strconv.ParseUint(o.mode, 8, 32)
		if err != nil || m > 0o7777 {
			return req, diag.New(diag.Usage, "copy", "", "--mode %q: write it in octal, as in 0640", o.mode)
		}
		mode := uint32(m)
		req.Mode = &mode
	}
	if o.json && req.Dest == (bowline.CopyLocation{Path: "-"}) {
		return req, diag.New(diag.Usage, "copy", "", "--json and a copy to standard output would mix")
	}
	return req, nil
}

// copyLocation splits TARGET:PATH as scp does: at a colon before any slash. An
// empty path is the home directory there.
func copyLocation(s string) bowline.CopyLocation {
	name, path, ok := strings.Cut(s, ":")
	if !ok || target.ValidName(name) != nil || runtime.GOOS == "windows" && len(name) == 1 {
		return bowline.CopyLocation{Path: s}
	}
	if path == "" {
		path = "."
	}
	return bowline.CopyLocation{Target: name, Path: path}
}

// concludeCopy says what a person must know beyond the error.
func (env *Env) concludeCopy(res bowline.CopyResult, req bowline.CopyRequest, err error) {
	if !env.quiet {
		for _, n := range res.Notices {
			env.note("%s", n)
		}
	}
	bad := 0
	for _, f := range res.Files {
		switch {
		case f.Status != bowline.CopyVerified && f.Status != bowline.CopyMade:
			if bad++; bad <= maxShownFiles && err != nil {
				env.note("%s %s: %s", f.Status, f.Path, f.Error)
			}
		case env.verbose && f.Type == "file":
			env.note("verified %s: %d bytes, sha256 %s by %s", f.Path, f.Size, f.SHA256, f.By)
		}
	}
	if bad > maxShownFiles {
		env.note("and %d more", bad-maxShownFiles)
	}
	if err != nil || env.quiet {
		return
	}
	files, reused := 0, int64(0)
	for _, f := range res.Files {
		if f.Type == "file" {
			files++
			reused += f.Reused
		}
	}
	text := fmt.Sprintf("%s, %s verified in %s", plural(files, "file"), sizeText(res.Bytes), res.Duration.Round(time.Millisecond))
	if reused > 0 {
		text += fmt.Sprintf("; %s were there already", sizeText(reused))
	}
	if req.Dest.Target == "" && req.Dest.Path == "-" && !env.verbose {
		return
	}
	env.note("%s", text)
}

const maxShownFiles = 20

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/(1<<10), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// jsonCopy is the document of "cp --json".
type jsonCopy struct {
	SchemaVersion int        `json:"schema_version"`
	Status        string     `json:"status"` // verified, or failed
	Way           string     `json:"way"`
	Total         int        `json:"total"`
	Bytes         int64      `json:"bytes"`
	DurationMS    float64    `json:"duration_ms"`
	Files         []jsonFile `json:"files"`
	Notices       []string   `json:"notices,omitempty"`
	AuditID       string     `json:"audit_id"`
	Error         *jsonError `json:"error,omitempty"`
}

type jsonFile struct {
	Path     string `json:"path"`
	Encoding string `json:"path_encoding,omitempty"` // "base64" for a path that is not UTF-8
	Type     string `json:"type"`
	Status   string `json:"status"`
	Size     int64  `json:"size"`
	Reused   int64  `json:"reused,omitempty"`
	SHA256   string `json:"sha256,omitempty"`
	By       string `json:"by,omitempty"`
	Error    string `json:"error,omitempty"`
}

func (env *Env) printCopyJSON(res bowline.CopyResult, err error) error {
	doc := jsonCopy{SchemaVersion: schemaVersion, Status: bowline.CopyVerified, Way: res.Way, Total: res.Total, Bytes: res.Bytes, Files: []jsonFile{},
		DurationMS: float64(res.Duration.Microseconds()) / 1000, Notices: res.Notices, AuditID: res.AuditID, Error: newJSONError(err)}
	if err != nil {
		doc.Status = bowline.CopyFailed
	}
	for _, f := range res.Files {
		j := jsonFile{Path: f.Path, Type: f.Type, Status: f.Status, Size: f.Size, Reused: f.Reused, SHA256: f.SHA256, By: f.By, Error: f.Error}
		if !utf8.ValidString(f.Path) {
			j.Path, j.Encoding = base64.StdEncoding.EncodeToString([]byte(f.Path)), "base64"
		}
		doc.Files = append(doc.Files, j)
	}
	return errors.Join(err, printJSON(env.Stdout, doc))
}

// copyProgress draws one line on a terminal, a few times a second.
type copyProgress struct {
	env  *Env
	quit chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	at    bowline.CopyProgress
	start time.Time // of the first byte
}

// startProgress returns nil where nobody looks.
func (env *Env) startProgress(json bool) *copyProgress {
	if env.quiet || json || !env.Terminal(env.Stderr) {
		return nil
	}
	p := &copyProgress{env: env, quit: make(chan struct{})}
	p.done.Go(p.draw)
	return p
}

func (p *copyProgress) update(at bowline.CopyProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.start.IsZero() {
		p.start = time.Now()
	}
	p.at = at
}

func (p *copyProgress) draw() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			fmt.Fprint(p.env.Stderr, "\r\x1b[K")
			return
		case <-tick.C:
			p.mu.Lock()
			at, since := p.at, p.start
			p.mu.Unlock()
			if !since.IsZero() {
				fmt.Fprintf(p.env.Stderr, "\r\x1b[K%s", progressLine(at, time.Since(since)))
			}
		}
	}
}

// progressLine is what a person sees after the copy ran for so long.
func progressLine(at bowline.CopyProgress, ran time.Duration) string {
	rate := float64(at.Bytes) / max(ran.Seconds(), 0.001)
	line := fmt.Sprintf("%d/%d files, %s of %s, %s/s", at.Files, at.TotalFiles, sizeText(at.Bytes), sizeText(at.TotalBytes), sizeText(int64(rate)))
	if left := at.TotalBytes - at.Bytes; left > 0 && rate > 0 {
		line += fmt.Sprintf(", %s left", time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second))
	}
	return line
}

func (p *copyProgress) stop() {
	close(p.quit)
	p.done.Wait()
}
