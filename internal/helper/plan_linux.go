package helper

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/apply"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/overlay"
	"github.com/bowline-sh/bowline/internal/overlay/deferral"
	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/profile"
)

// sessionsDir is where sessions are kept on a target, below the login's home.
func sessionsDir() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(home, ".local", "share", "bowline", "sessions")
	return dir, os.MkdirAll(dir, 0o700)
}

// Bounds on what goes to the client besides the plan, in bytes.
const (
	maxContent  = 4 << 20   // of one file; the status of dpkg on a full system fits
	maxContents = 16 << 20  // of all
	maxOutput   = 256 << 10 // of the script's output
)

// sweepAge is how long a session that was never applied stays on the target. Its
// approval is long over by then, see plan.DefaultTTL.
const sweepAge = 48 * time.Hour

func planSession(ctx context.Context, r *frame.Request) (any, error) {
	var req PlanRequest
	if err := r.Decode(&req); err != nil {
		return nil, err
	}
	if err := plan.ValidID(req.Session); err != nil {
		return nil, diag.New(diag.Usage, "plan", "", "%w", err)
	}
	if req.Profile.Name != "" {
		if err := req.Profile.Validate(); err != nil {
			return nil, diag.New(diag.Usage, "plan", "", "%w", err)
		}
	}
	parent, err := sessionsDir()
	if err != nil {
		return nil, diag.New(diag.Failure, "plan", "make the home directory of the login writable", "%w", err)
	}
	_ = apply.Sweep(parent, sweepAge, time.Now()) // what stays is tried again next time
	work, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return nil, diag.New(diag.Failure, "plan", "", "%w", err)
	}
	defer os.RemoveAll(work)
	d := dryRun{req: req, work: work}
	res, err := d.run(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.publish(parent, res.Plan); err != nil {
		return nil, diag.New(diag.Failure, "keep session", "", "%w", err)
	}
	leave(req.Head)
	return res, nil
}

// dryRun is one dry run and the directory it works in.
type dryRun struct {
	req      PlanRequest
	work     string
	withhold change.Changeset // what the script must not be able to do
}

// layer is the directory that takes captured contents.
func (d dryRun) layer() string { return filepath.Join(d.work, "layer") }

func (d dryRun) run(ctx context.Context) (PlanResult, error) {
	scratch := filepath.Join(d.work, "scratch")
	if err := errors.Join(os.Mkdir(d.layer(), 0o700), os.Mkdir(scratch, 0o700)); err != nil {
		return PlanResult{}, err
	}
	layer, err := os.Open(d.layer())
	if err != nil {
		return PlanResult{}, err
	}
	defer layer.Close()
	argv, err := d.argv()
	if err != nil {
		return PlanResult{}, err
	}
	mode := plan.User
	if os.Geteuid() == 0 {
		mode = plan.Root
	}
	home := cmp.Or(os.Getenv("HOME"), "/")
	var stdout, stderr limited
	rules, volatile := rulesOf(d.req.Profile.DryRun)
	res, err := overlay.Run(ctx, overlay.Request{
		Argv: argv, Dir: home, Env: os.Environ(), Stdout: &stdout, Stderr: &stderr, Mode: mode, HostNet: d.req.HostNet,
		Timeout: d.req.Timeout, Table: rules, Volatile: volatile, Withhold: d.withhold, Scratch: scratch, Layer: layer,
	})
	if err != nil {
		return PlanResult{}, err
	}
	p := plan.Plan{
		Version: plan.Version, Session: d.req.Session, Target: d.req.Target, HostKey: d.req.HostKey, Login: login(), Mode: mode,
		Profile: digestOf(rules, volatile), Script: hex.EncodeToString(sum(d.req.Script)), Argv: text(d.req.Argv), Exit: res.Exit, Created: d.req.Created,
		Ops: res.Ops, Warnings: slices.Concat(res.Labels, res.Warnings), Truncated: stdout.cut || stderr.cut, Stdout: stdout.Bytes(), Stderr: stderr.Bytes(),
	}
	if res.TimedOut {
		return PlanResult{}, diag.New(diag.Timeout, "dry run", "give it more time with --timeout", "the script was killed after %s; the host is unchanged", d.req.Timeout)
	}
	if err := p.Valid(); err != nil {
		return PlanResult{}, fmt.Errorf("dry run: %w", err)
	}
	return PlanResult{Plan: p, Contents: d.contents(p, d.layer()), Labels: res.Labels}, nil
}

// rulesOf returns what a dry run defers and leaves out. What a profile says of a
// program comes first, so it replaces what is built in. Neither list is nil, which
// would mean the built-in one.
func rulesOf(d profile.DryRun) (table []deferral.Rule, volatile []string) {
	table, volatile = []deferral.Rule{}, []string{}
	for _, x := range d.Defer {
		r := deferral.Rule{
			ReadFlags: x.ReadFlags, DeferFlags: x.DeferFlags, DeferWith: x.DeferWith, ValueFlags: x.ValueFlags, WordFlags: x.WordFlags,
			Undo: x.Undo, Verb: x.UndoWord, Answer: x.Answer, Stdin: x.Stdin, Local: x.Local,
		}
		for _, pattern := range x.Reads {
			r.Reads = append(r.Reads, strings.Fields(pattern))
		}
		for _, r.Name = range x.Programs {
			table = append(table, r)
		}
	}
	volatile = append(volatile, d.Volatile...)
	if d.NoDefaults {
		return table, volatile
	}
	for _, r := range deferral.Default() {
		if _, ok := deferral.Find(table, r.Name); !ok {
			table = append(table, r)
		}
	}
	return table, append(volatile, overlay.DefaultVolatile()...)
}

// argv is what the dry run executes. A script lies in our work directory, which
// its view shows too; its interpreter is started as the kernel would.
func (d dryRun) argv() ([]string, error) {
	args := text(d.req.Argv)
	if d.req.Script == nil {
		return args, nil
	}
	name := filepath.Base(cmp.Or(d.req.Name, "script"))
	if name == "." || name == "/" || strings.HasPrefix(name, "-") {
		name = "script"
	}
	file := filepath.Join(d.work, name)
	if err := os.WriteFile(file, d.req.Script, 0o700); err != nil {
		return nil, err
	}
	return slices.Concat(interpreter(d.req.Script), []string{file}, args), nil
}

// interpreter reads a #! line as Linux does (fs/binfmt_script.c): the program, and
// all that follows as one argument. Without one it is sh, as for any shell.
func interpreter(script []byte) []string {
	line, _, _ := bytes.Cut(script, []byte("\n"))
	rest, ok := bytes.CutPrefix(line, []byte("#!"))
	rest = bytes.Trim(rest, " \t")
	if !ok || len(rest) == 0 {
		return []string{"/bin/sh"}
	}
	program, arg, _ := strings.Cut(string(rest), " ")
	if arg = strings.Trim(arg, " \t"); arg == "" {
		return []string{program}
	}
	return []string{program, arg}
}

func text(argv [][]byte) []string {
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = string(a)
	}
	return out
}

func login() string { return fmt.Sprintf("uid %d", os.Geteuid()) }

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

// digestOf names the rules that shaped a plan.
func digestOf(v ...any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("helper: rules cannot be encoded: " + err.Error()) // they are plain data
	}
	return "sha256:" + hex.EncodeToString(sum(b))
}

// contents collects small texts before and after, for diffs.
func (d dryRun) contents(p plan.Plan, layer string) map[string][]byte {
	kept := newContents()
	for _, first := range []bool{true, false} { // where reviewers look first, as far as there is room
		for _, op := range p.Ops {
			if c := op.Change; c != nil && telling(string(c.Path)) == first {
				kept.add(c.Before, string(c.Path))
				kept.add(c.After, filepath.Join(layer, c.After.SHA256))
			}
		}
	}
	return kept.byDigest
}

// telling reports whether a file is likely to decide what a plan is: configuration,
// what is installed, and what belongs to people.
func telling(path string) bool {
	for _, dir := range []string{"/etc/", "/var/lib/dpkg/status", "/lib/apk/db/", "/root/", "/home/", "/var/spool/cron/", "/boot/"} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}

// contents are small texts by digest, as many as there is room for.
type contents struct {
	byDigest map[string][]byte
	room     int
}

func newContents() *contents { return &contents{map[string][]byte{}, maxContents} }

// add keeps the content of s if file holds it, and it is a text.
func (k *contents) add(s change.State, file string) {
	if s.Type != change.File || s.Size == 0 || s.Size > maxContent || int(s.Size) > k.room || k.byDigest[s.SHA256] != nil {
		return
	}
	b, err := readRegular(file, s.Size)
	if err == nil && utf8.Valid(b) && hex.EncodeToString(sum(b)) == s.SHA256 {
		k.byDigest[s.SHA256] = b
		k.room -= len(b)
	}
}

// readRegular reads a file of size bytes that is no link and no device. What it
// returns may be cut: the digest will tell.
func readRegular(file string, size int64) ([]byte, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != size {
		return nil, errors.Join(err, errors.New("not the regular file that was captured"))
	}
	b := make([]byte, size)
	n, err := unix.Read(fd, b)
	return b[:max(n, 0)], err
}

// publish makes the session known: it is put together in the work directory and
// takes its name when all of it is on the disk, so that a crash leaves a whole
// session or none.
func (d dryRun) publish(parent string, p plan.Plan) error {
	dir, err := apply.Create(d.work, p, d.req.Created)
	if err != nil {
		return err
	}
	layer := filepath.Join(dir, apply.LayerDir)
	if err := unix.Rename(d.layer(), layer); err != nil { // over an empty directory
		return err
	}
	if err := syncTree(layer, len(p.Blobs())); err != nil {
		return err
	}
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	// This fails if there is such a session already.
	if err := os.Rename(dir, filepath.Join(parent, p.Session)); err != nil {
		return err
	}
	return durable.SyncDir(parent)
}

// oneByOne is up to how many files are synced one by one; it costs a journal
// commit each, while syncfs waits for all that the host has to write besides.
const oneByOne = 8

// syncTree makes the n files of dir and their names durable. Above oneByOne it is
// syncfs(2), which writes all data and metadata of the file system and waits for
// it. Before Linux 5.8 syncfs does not report write errors; apply reads every
// content again before it touches anything, and finds what got lost.
func syncTree(dir string, n int) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if n > oneByOne {
		return unix.Syncfs(int(f.Fd()))
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := syncFile(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return durable.SyncDir(dir)
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// limited keeps the beginning of what is written.
type limited struct {
	bytes.Buffer
	cut bool
}

func (l *limited) Write(p []byte) (int, error) {
	room := maxOutput - l.Len()
	if room < len(p) {
		l.cut = true
	}
	l.Buffer.Write(p[:min(len(p), max(room, 0))])
	return len(p), nil
}
