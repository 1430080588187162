package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status is where a session stands.
type Status string

const (
	Pending    Status = "pending"     // waits for a person
	Approved   Status = "approved"    // may be applied once, until the approval expires
	Rejected   Status = "rejected"    // by a person; final
	Applying   Status = "applying"    // under way, or killed: resume or roll back
	Executed   Status = "executed"    // applied as planned
	Failed     Status = "failed"      // nothing was changed
	Partial    Status = "partial"     // changed in part: resume or roll back
	RolledBack Status = "rolled_back" // everything is as it was before
	Expired    Status = "expired"     // nobody approved, or applied, in time
	Cancelled  Status = "cancelled"   // withdrawn by who asked for it
)

// moves is every legal move. No command can make another.
var moves = map[Status][]Status{
	Pending:  {Approved, Rejected, Expired, Cancelled},
	Approved: {Applying, Rejected, Expired, Cancelled},
	Applying: {Approved, Executed, Failed, Partial, RolledBack}, // Approved: refused before the first effect, the approval is still good
	Partial:  {Applying, RolledBack},
	Executed: {Partial, RolledBack}, // Partial: a rollback under way
	Failed:   {},
	Rejected: {}, Expired: {}, Cancelled: {}, RolledBack: {},
}

// Statuses returns all statuses, sorted.
func Statuses() []Status {
	var all []Status
	for s := range moves {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

// CanMove reports whether a session may go from one status to another.
func CanMove(from, to Status) bool { return slices.Contains(moves[from], to) }

// Final reports whether a session in this status never changes again.
func (s Status) Final() bool { return len(moves[s]) == 0 }

// DefaultTTL is how long a plan waits for approval, and an approval for apply.
const DefaultTTL = time.Hour

// ValidID reports why id cannot be a session's, or nil. An id never leaves a
// directory it is joined to.
func ValidID(id string) error {
	if len(id) > 64 || !isID(id) {
		return fmt.Errorf("session id %q: they look like 20261121-fix-nginx-a3f2", id)
	}
	return nil
}

// NewID makes an id of a date, a name for people and random hex digits.
func NewID(now time.Time, name, random string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 24 {
			break
		}
	}
	slug := strings.Trim(b.String(), "-")
	if slug == "" {
		slug = "change"
	}
	return now.UTC().Format("20060102") + "-" + slug + "-" + random
}

// Approval is a person's decision on a plan's digest. It names nothing but the
// digest: whoever approved, approved exactly that.
type Approval struct {
	ID      string    `json:"id"` // used once
	Session string    `json:"session"`
	Digest  string    `json:"digest"`
	HostKey string    `json:"host_key"` // of the target it is for
	User    string    `json:"user"`     // login of the person
	Host    string    `json:"host"`     // where they were
	Reject  bool      `json:"reject,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// KeyID is the fingerprint of the SSH key that signed, "SHA256:...", and
	// Signature an armored SSHSIG in the namespace [SignatureNamespace] over
	// Statement; both "" if nobody signed.
	KeyID     string `json:"key_id,omitempty"`
	Signature string `json:"signature,omitempty"`
}

// SignatureNamespace keeps signatures of approvals apart from all others that a key
// makes (PROTOCOL.sshsig of OpenSSH).
const SignatureNamespace = "bowline-approval"

// statement is what a person signs. Fields are only ever added, with a new version.
type statement struct {
	Statement  string    `json:"statement"`
	Version    int       `json:"version"`
	ID         string    `json:"id"`
	Session    string    `json:"session"`
	Digest     string    `json:"digest"`
	HostKey    string    `json:"host_key"`
	Operations int       `json:"operations"`
	User       string    `json:"user"`
	Host       string    `json:"host"`
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires"`
}

// Statement returns the bytes that a signature of this approval covers: everything in
// it, and the number of operations of the plan it is for. One line of JSON.
func (a Approval) Statement(operations int) []byte {
	b, err := json.Marshal(statement{SignatureNamespace, 1, a.ID, a.Session, a.Digest, a.HostKey, operations, a.User, a.Host, a.Created.UTC(), a.Expires.UTC()})
	if err != nil {
		panic("plan: a statement cannot be encoded: " + err.Error()) // strings and years of four digits
	}
	return append(b, '\n')
}

// Ran is a command that was run, with the ends of what it wrote, which is hostile.
type Ran struct {
	Op     int      `json:"op"` // operation, from 1
	Argv   []string `json:"argv"`
	Undo   bool     `json:"undo,omitempty"` // it took the operation back
	Exit   int      `json:"exit"`
	Note   string   `json:"note,omitempty"`   // why it could not be run
	Stdout []byte   `json:"stdout,omitempty"` // the last bytes
	Stderr []byte   `json:"stderr,omitempty"`
}

// Check reports why a does not allow applying p at the time now, or nil. Single
// use is for the caller to remember.
func (a Approval) Check(p Plan, now time.Time) error {
	digest, err := p.Digest()
	if err != nil {
		return err
	}
	switch {
	case a.ID == "" || a.User == "":
		return fmt.Errorf("the approval names no person")
	case a.Reject:
		return fmt.Errorf("the plan was rejected by %s: %s", a.User, a.Reason)
	case a.Session != p.Session:
		return fmt.Errorf("the approval is for session %s", a.Session)
	case a.Digest != digest:
		return fmt.Errorf("the approval is for another plan: it names %s, this plan is %s", a.Digest, digest)
	case a.HostKey != p.HostKey:
		return fmt.Errorf("the approval is for another host")
	case now.After(a.Expires):
		return fmt.Errorf("the approval expired at %s", a.Expires.Format(time.RFC3339))
	case a.Created.After(now.Add(time.Minute)): // clocks of client and target may differ a little
		return fmt.Errorf("the approval is from the future; compare the clocks of client and target")
	}
	return nil
}

// Characters of ids.
const (
	decimals  = "0123456789"
	hexits    = decimals + "abcdef"
	idLetters = decimals + "abcdefghijklmnopqrstuvwxyz"
)

// isID reports whether id is a date, words and hex digits, joined by hyphens.
func isID(id string) bool {
	words := strings.Split(id, "-")
	last := len(words) - 1
	if last < 2 || len(words[0]) != 8 || !consists(words[0], decimals) || len(words[last]) < 4 || len(words[last]) > 8 || !consists(words[last], hexits) {
		return false
	}
	return !slices.ContainsFunc(words[1:last], func(w string) bool { return !consists(w, idLetters) })
}

// consists reports whether s is made of characters of set, and is not empty. Patterns
// of package regexp would do, and make the helper 0.2 MiB larger.
func consists(s, set string) bool { return s != "" && strings.Trim(s, set) == "" }
