package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/redact"
)

// Subject is what an operation is about. Fields that do not apply stay zero.
type Subject struct {
	Verb    string // run, target.add, apply, ...
	Actor   *Actor // who acts, as far as it is not the log's own, as for users of a server
	Session string
	Target  string
	Address string // "host:port"
	Login   string
	HostKey string // fingerprint, "SHA256:..."
	KeyID   string // fingerprint of the key that logged in
	Profile string
	Attempt int               // 1 for the first
	Digests map[string]string // name -> digest: plan, profile, file, before, after, ...
}

// Intent is an operation that is about to start.
type Intent struct {
	Subject
	ID   string // optional; a new ULID by default
	Argv []string
	Cwd  string
	Env  map[string]string // names are stored; values of secret names are masked elsewhere
	Text string            // optional, free
	// SecretEnv are names in Env whose values are secret whatever they are
	// called; the values are masked wherever they stand.
	SecretEnv []string
}

// Outcome is the end of an operation. Fields of Subject that are not zero
// replace those of the intent: an address is known only after connecting.
type Outcome struct {
	Subject
	Status      Status // optional; OK without Err, else by its kind
	ExitCode    *int
	Signal      string
	Duration    time.Duration
	TimedOut    bool
	Truncated   bool
	StdoutBytes int64
	StderrBytes int64
	Err         error
}

// Note is anything else worth a record: an attempt to connect, an approval.
type Note struct {
	Subject
	ID   string // of the operation it belongs to; optional
	Text string
}

// Bounds keep an entry below MaxLine even if every byte needs an escape of six
// ("\u001b").
const (
	maxField   = 1 << 10  // bytes of a name, address, fingerprint
	maxText    = 4 << 10  // bytes of a free text or error
	maxArg     = 8 << 10  // bytes of one argument
	maxArgv    = 64 << 10 // bytes of all arguments
	maxArgs    = 4096
	maxNames   = 256 // environment variables
	maxName    = 128 // bytes of the name of one, or of a digest
	maxDigests = 128
)

func (in Intent) entry(r *redact.Redactor) Entry {
	e := in.Subject.entry(r)
	e.Event, e.ID = EventIntent, in.ID
	e.Argv = boundArgv(&e, r.Argv(in.Argv))
	e.Cwd = bound(r.Text(in.Cwd), maxText)
	e.Env = boundNames(slices.Sorted(maps.Keys(in.Env)))
	e.Text = bound(r.Text(in.Text), maxText)
	return e
}

func (n Note) entry(r *redact.Redactor) Entry {
	e := n.Subject.entry(r)
	e.Event, e.ID, e.Text = EventNote, n.ID, bound(r.Text(n.Text), maxText)
	return e
}

// Ended is the status that the entry will have.
func (o Outcome) Ended() Status { return cmp.Or(o.Status, statusOf(o.Err)) }

func (o Outcome) entry(id string, r *redact.Redactor) Entry {
	e := o.Subject.entry(r)
	e.Event, e.ID = EventOutcome, id
	e.Result = &Result{
		Status: o.Ended(), Kind: diag.KindOf(o.Err),
		ExitCode: o.ExitCode, Signal: bound(o.Signal, maxName),
		DurationMS: o.Duration.Milliseconds(), TimedOut: o.TimedOut, Truncated: o.Truncated,
		StdoutBytes: o.StdoutBytes, StderrBytes: o.StderrBytes,
	}
	if o.Err != nil {
		// Errors quote targets, whose text is hostile.
		e.Result.Error = redact.Clean(r.Text(bound(o.Err.Error(), 64*maxText)), maxText)
	}
	return e
}

func statusOf(err error) Status {
	switch diag.KindOf(err) {
	case "":
		return OK
	case diag.Refused, diag.Denied, diag.Usage:
		return Refused
	}
	return Error
}

func (s Subject) entry(r *redact.Redactor) Entry {
	field := func(s string) string { return bound(r.Text(s), maxField) }
	e := Entry{
		Verb: field(s.Verb), Session: field(s.Session), Target: field(s.Target), Address: field(s.Address),
		Login: field(s.Login), HostKey: bound(s.HostKey, maxField), KeyID: bound(s.KeyID, maxField),
		Profile: field(s.Profile), Attempt: s.Attempt, Digests: boundDigests(s.Digests),
	}
	if s.Actor != nil {
		e.Actor = *s.Actor
	}
	return e
}

// over returns s with the fields that are zero taken from base.
func (s Subject) over(base Subject) Subject {
	return Subject{
		Verb: cmp.Or(s.Verb, base.Verb), Actor: cmp.Or(s.Actor, base.Actor), Session: cmp.Or(s.Session, base.Session),
		Target: cmp.Or(s.Target, base.Target), Address: cmp.Or(s.Address, base.Address), Login: cmp.Or(s.Login, base.Login),
		HostKey: cmp.Or(s.HostKey, base.HostKey), KeyID: cmp.Or(s.KeyID, base.KeyID), Profile: cmp.Or(s.Profile, base.Profile),
		Attempt: cmp.Or(s.Attempt, base.Attempt), Digests: s.Digests,
	}
}

// or takes what a does not say from def.
func (a Actor) or(def Actor) Actor {
	return Actor{
		User: cmp.Or(a.User, def.User), Host: cmp.Or(a.Host, def.Host), PID: cmp.Or(a.PID, def.PID),
		Surface: cmp.Or(a.Surface, def.Surface), Client: cmp.Or(a.Client, def.Client),
	}
}

func (a Actor) bounded() Actor {
	a.User, a.Host = bound(a.User, maxField), bound(a.Host, maxField)
	a.Surface, a.Client = bound(a.Surface, maxField), bound(a.Client, maxField)
	return a
}

// bound cuts s to max bytes at a character and marks the cut.
func bound(s string, max int) string {
	if len(s) <= max {
		return s
	}
	cut := max - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// boundArgv cuts what is too long and then adds the digest of the whole: of
// the masked arguments, each followed by a zero byte. A digest of the unmasked
// ones would let anyone try passwords against it.
func boundArgv(e *Entry, argv []string) []string {
	out, total, whole := make([]string, 0, min(len(argv), maxArgs)), 0, true
	for i, arg := range argv {
		room := min(maxArg, maxArgv-total)
		if i == maxArgs || room < len("…") {
			whole = false
			break
		}
		cut := bound(arg, room)
		whole = whole && len(cut) == len(arg) && utf8.ValidString(arg)
		out, total = append(out, cut), total+len(cut)
	}
	if !whole {
		e.Digests = withDigest(e.Digests, "argv", digestOf(argv))
	}
	return out
}

func digestOf(list []string) string {
	h := sha256.New()
	for _, s := range list {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func withDigest(m map[string]string, name, digest string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = make(map[string]string, 1)
	}
	out[name] = digest
	return out
}

func boundNames(names []string) []string {
	var out []string
	for _, n := range names[:min(len(names), maxNames)] {
		out = append(out, bound(n, maxName))
	}
	if len(names) > maxNames {
		out = append(out, "…")
	}
	return out
}

// boundDigests keeps the first maxDigests by name; of more, the digest of all
// stands under "…".
func boundDigests(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, min(len(m), maxDigests+1))
	var all []string
	for i, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, k, m[k])
		if i < maxDigests {
			out[bound(k, maxName)] = bound(m[k], 2*maxName)
		}
	}
	if len(m) > maxDigests {
		out["…"] = digestOf(all)
	}
	return out
}
