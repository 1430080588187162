//go:build linux

package apply

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/internal/journal"
	"github.com/bowline-sh/bowline/internal/safepath"
	"github.com/bowline-sh/bowline/plan"
)

// Names in a session directory.
const (
	planFile     = "plan.json"
	approvalFile = "approval.json"
	sessionFile  = "session.json"
	journalFile  = "journal"
	lockFile     = "lock"
	usedFile     = "used-approvals"

	// LayerDir, in a session directory, takes the contents the plan needs.
	LayerDir = "layer"
	// CheckpointDir holds the originals of what was touched.
	CheckpointDir = "checkpoint"
	// OutputsDir holds what deferred commands wrote.
	OutputsDir = "outputs"
)

// maxFile bounds what is read of plan.json; the others are far smaller.
const maxFile = 1 << 30

// recordVersion of session.json.
//
//	1  first
const recordVersion = 1

// Record is the content of session.json.
type Record struct {
	Version  int         `json:"version"`
	Session  string      `json:"session"`
	Status   plan.Status `json:"status"`
	Plan     string      `json:"plan"` // digest
	Created  time.Time   `json:"created"`
	Changed  time.Time   `json:"changed"`            // of the status
	By       string      `json:"by,omitempty"`       // person who approved or rejected, login@host
	Approval string      `json:"approval,omitempty"` // ID of the one that was used
	// ApprovalSum is the digest of approval.json as it was used.
	ApprovalSum string `json:"approval_sum,omitempty"`
	Checkpoint  string `json:"checkpoint,omitempty"` // digest of its manifest
	// RollingBack says that a rollback was begun; apply cannot be resumed.
	RollingBack bool   `json:"rolling_back,omitempty"`
	Nonce       string `json:"nonce"` // in the names of temporary files
	// JournalHead and JournalSize prove that the journal was not cut or rewritten.
	JournalHead string `json:"journal_head,omitempty"`
	JournalSize int64  `json:"journal_size,omitempty"`
	Seal        string `json:"seal"` // SHA-256 of all of this with Seal empty
}

func (r Record) seal() (string, error) {
	r.Seal = ""
	b, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("seal session: %w", err)
	}
	return sum(b), nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// Session is an open session directory and the tree it acts on.
type Session struct {
	dir, layer, cp, out *safepath.Dir
	base                *safepath.Root // of the session directories
	root                *safepath.Root
	name                string
	path                string
	rec                 Record
	closed              bool
	plan                plan.Plan
}

// Create makes a session directory for p below parent, in status pending. Contents
// go into its LayerDir, by whoever has them, before it is applied.
func Create(parent string, p plan.Plan, now time.Time) (string, error) {
	if err := p.Valid(); err != nil {
		return "", err
	}
	digest, err := p.Digest()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(parent, p.Session)
	for _, d := range []string{dir, filepath.Join(dir, LayerDir), filepath.Join(dir, CheckpointDir), filepath.Join(dir, OutputsDir)} {
		if err := os.Mkdir(d, 0o700); err != nil && (d == dir || !errors.Is(err, os.ErrExist)) {
			return "", err
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("write plan: %w", err)
	}
	base, d, err := openDir(dir)
	if err != nil {
		return "", err
	}
	defer base.Close()
	defer d.Close()
	if err := d.WriteFile(planFile, b); err != nil {
		return "", err
	}
	s := &Session{dir: d, rec: Record{
		Version: recordVersion, Session: p.Session, Status: plan.Pending, Plan: digest, Created: now, Changed: now, Nonce: rand.Text()[:12],
	}}
	if err := s.save(); err != nil {
		return "", err
	}
	return dir, durable.SyncDir(parent)
}

func openDir(dir string) (*safepath.Root, *safepath.Dir, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, err
	}
	base, err := safepath.OpenRoot(filepath.Dir(abs))
	if err != nil {
		return nil, nil, err
	}
	d, err := base.Open("/" + filepath.Base(abs))
	if err != nil {
		base.Close()
		return nil, nil, err
	}
	return base, d, nil
}

// Open opens the session directory dir to act on the tree at root, "/" for the
// host. It checks the seal of session.json and the plan against its digest, and
// changes nothing.
func Open(dir, root string) (_ *Session, err error) {
	s := &Session{path: dir, name: filepath.Base(dir)}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.base, s.dir, err = openDir(dir); err != nil {
		return nil, err
	}
	if s.root, err = safepath.OpenRoot(root); err != nil {
		return nil, err
	}
	for name, d := range map[string]**safepath.Dir{LayerDir: &s.layer, CheckpointDir: &s.cp, OutputsDir: &s.out} {
		if *d, err = s.dir.Open(name); gone(err) {
			return nil, s.altered("%s is not the directory that was made", name)
		} else if err != nil {
			return nil, err
		}
	}
	if err := s.private(); err != nil {
		return nil, err
	}
	return s, s.load()
}

// private refuses a session directory that somebody else could write to.
func (s *Session) private() error {
	for _, name := range []string{"", LayerDir, CheckpointDir, OutputsDir} {
		info, err := s.base.Stat(change.Path(path.Join("/", s.name, name)), false)
		if err != nil {
			return err
		}
		if int(info.UID) != os.Geteuid() || info.Mode&0o077 != 0 {
			return diag.New(diag.Denied, "open session "+s.name, "chmod -R go= "+s.path,
				"%q belongs to user %d with mode %o; it must be yours and closed to others", filepath.Join(s.path, name), info.UID, info.Mode)
		}
	}
	return nil
}

// ErrTampered means that a file of the session is not what was written.
var ErrTampered = errors.New("the session was altered")

func (s *Session) altered(format string, args ...any) error {
	return diag.New(diag.Denied, "check session "+s.name,
		"nothing was touched by this; compare "+s.path+" with your records, then make a new plan",
		"%w: %s", ErrTampered, fmt.Sprintf(format, args...))
}

// load reads session.json and plan.json.
func (s *Session) load() error {
	b, err := s.dir.ReadFile(sessionFile, maxFile)
	if err != nil {
		return err
	}
	s.rec = Record{}
	if err := strict(b, &s.rec); err != nil {
		return s.altered("session.json: %v", err)
	}
	seal, err := s.rec.seal()
	if err != nil {
		return err
	}
	if seal != s.rec.Seal || s.rec.Session != s.name {
		return s.altered("session.json is not as it was written, or was moved")
	}
	if s.rec.Version != recordVersion {
		return fmt.Errorf("session version %d; this program knows %d", s.rec.Version, recordVersion)
	}
	if b, err = s.dir.ReadFile(planFile, maxFile); err != nil {
		return err
	}
	s.plan = plan.Plan{}
	if err := strict(b, &s.plan); err != nil {
		return s.altered("plan.json: %v", err)
	}
	digest, err := s.plan.Digest()
	if err != nil {
		return err
	}
	if err := s.plan.Valid(); err != nil {
		return s.altered("plan.json: %v", err)
	}
	if digest != s.rec.Plan || s.plan.Session != s.rec.Session {
		return s.altered("plan.json has digest %s, the session was made for %s", digest, s.rec.Plan)
	}
	return nil
}

func strict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

func (s *Session) save() error {
	seal, err := s.rec.seal()
	if err != nil {
		return err
	}
	s.rec.Seal = seal
	b, err := json.MarshalIndent(s.rec, "", "\t")
	if err != nil {
		return fmt.Errorf("write session: %w", err)
	}
	return s.dir.WriteFile(sessionFile, append(b, '\n'))
}

// move changes the status, durably.
func (s *Session) move(to plan.Status, now time.Time) error {
	if s.rec.Status != to && !plan.CanMove(s.rec.Status, to) {
		return s.illegal(to)
	}
	s.rec.Status, s.rec.Changed = to, now
	return s.save()
}

func (s *Session) illegal(to plan.Status) error {
	return diag.New(diag.Refused, "session "+s.name, "see 'bowline session show "+s.name+"'", "it is %s and cannot become %s", s.rec.Status, to)
}

// Close gives all handles back. A second call does nothing: the numbers may be
// somebody else's by then.
func (s *Session) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	for _, d := range []*safepath.Dir{s.out, s.cp, s.layer, s.dir} {
		if d != nil {
			err = errors.Join(err, d.Close())
		}
	}
	for _, r := range []*safepath.Root{s.root, s.base} {
		if r != nil {
			err = errors.Join(err, r.Close())
		}
	}
	return err
}

// Record returns what session.json says.
func (s *Session) Record() Record { return s.rec }

// Plan returns the plan.
func (s *Session) Plan() plan.Plan { return s.plan }

// Lock makes this session's one actor, or fails with kind Conflict. Apply, Resume,
// Rollback and Decide take it themselves.
func (s *Session) Lock() (unlock func() error, err error) {
	f, err := s.dir.Append(lockFile)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, diag.New(diag.Conflict, "session "+s.name, "follow it with 'bowline session resume "+s.name+"'", "busy: somebody is applying it or rolling it back")
		}
		return nil, fmt.Errorf("lock session: %w", err)
	}
	// Unlocked, not only closed: a process being forked meanwhile has a copy of f.
	release := func() error { return unlockFile(f) }
	if err := s.load(); err != nil { // somebody may have been at it before
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// Decide notes a person's approval or rejection. It does not check it; Apply does. An
// approval that was not used gives way to another: one that is bad, or that somebody
// made up, must not be in the way of a good one.
func (s *Session) Decide(a plan.Approval, now time.Time) error {
	unlock, err := s.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	to := plan.Approved
	if a.Reject {
		to = plan.Rejected
	}
	again := s.rec.Status == plan.Approved && to == plan.Approved && s.rec.Approval == ""
	if !again && !plan.CanMove(s.rec.Status, to) {
		return s.illegal(to)
	}
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("write approval: %w", err)
	}
	if err := s.dir.WriteFile(approvalFile, b); err != nil {
		return err
	}
	s.rec.By, s.rec.ApprovalSum = a.User+"@"+a.Host, sum(b)
	return s.move(to, now)
}

// approval reads approval.json and checks everything but that it was not used.
func (s *Session) approval(now time.Time) (plan.Approval, error) {
	b, err := s.dir.ReadFile(approvalFile, 1<<20)
	if errors.Is(err, unix.ENOENT) {
		return plan.Approval{}, s.denied("nobody approved it")
	}
	if err != nil {
		return plan.Approval{}, err
	}
	var a plan.Approval
	if err := strict(b, &a); err != nil {
		return a, s.altered("approval.json: %v", err)
	}
	if sum(b) != s.rec.ApprovalSum {
		return a, s.altered("approval.json is not the decision that was noted")
	}
	if err := a.Check(s.plan, now); err != nil {
		return a, s.denied("%w", err)
	}
	return a, nil
}

func (s *Session) denied(format string, args ...any) error {
	return diag.New(diag.Denied, "apply session "+s.name, "approve it with 'bowline approve "+s.name+"'", format, args...)
}

// usedLine is what stands in used-approvals. IDs come from outside, so they are
// hashed.
func usedLine(id, session string) string { return sum([]byte(id)) + " " + session }

// unlockFile unlocks and closes a file.
func unlockFile(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

// used opens used-approvals, locked, and looks for the approval: by whom it was
// used, or "".
func (s *Session) used(id string) (f *os.File, by string, err error) {
	d, err := s.base.Open("/")
	if err != nil {
		return nil, "", err
	}
	defer d.Close()
	if f, err = d.Append(usedFile); err != nil {
		return nil, "", err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err == nil {
		var b []byte
		b, err = d.ReadFile(usedFile, maxFile)
		for line := range strings.Lines(string(b)) {
			if digest, session, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok && digest == sum([]byte(id)) {
				by = session
			}
		}
	}
	if err != nil {
		return nil, "", errors.Join(err, unlockFile(f))
	}
	return f, by, nil
}

// consume notes durably that the approval was used, first in session.json and then
// in used-approvals. Called again for the same session after a crash between the
// two it finishes that.
func (s *Session) consume(a string, now time.Time, resumed bool) error {
	f, by, err := s.used(a)
	if err != nil {
		return err
	}
	defer unlockFile(f)
	if by != "" && (!resumed || by != s.name) {
		return s.denied("the approval was used before, by session %s; an approval works once", by)
	}
	if !resumed {
		s.rec.Approval = a
		if err := s.move(plan.Applying, now); err != nil {
			return err
		}
	}
	if by != "" {
		return nil
	}
	// A crash may have torn the last line; the newline before keeps this one whole.
	if _, err := f.WriteString("\n" + usedLine(a, s.name) + "\n"); err != nil {
		return fmt.Errorf("note approval as used: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("note approval as used: %w", err)
	}
	d, err := s.base.Open("/")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openJournal reads the journal into m and opens it for appending.
func (s *Session) openJournal(m *model) (*journal.Journal, *os.File, error) {
	f, err := s.dir.Append(journalFile)
	if err != nil {
		return nil, nil, err
	}
	err = s.settled(f)
	if err == nil {
		err = journal.Prefix(f, s.rec.JournalHead, s.rec.JournalSize)
	}
	var j *journal.Journal
	if err == nil {
		j, err = journal.Open(f, m.replay)
	}
	if err != nil {
		f.Close()
		if errors.Is(err, journal.ErrTampered) {
			err = s.altered("%v", err)
		}
		return nil, nil, err
	}
	return j, f, nil
}

// settled refuses a journal that grew after the session came to its end: only of an
// unfinished one may the end be torn.
func (s *Session) settled(f *os.File) error {
	info, err := f.Stat()
	if err == nil && s.rec.Status == plan.Executed && info.Size() != s.rec.JournalSize {
		err = fmt.Errorf("%w: it has %d bytes, not %d", journal.ErrTampered, info.Size(), s.rec.JournalSize)
	}
	return err
}

// Status returns where the session stands.
func (s *Session) Status() plan.Status { return s.rec.Status }

func check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return diag.New(diag.Canceled, "apply", "", "%w", context.Cause(ctx))
	}
	return nil
}
