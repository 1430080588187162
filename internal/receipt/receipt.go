// Package receipt makes and checks receipts: one file that tells what a session was to
// do, who decided, what was done and said, and where that stands in the audit log. It is
// checked with nothing but the file, and for signed approvals the signers.
//
// # Format
//
// One line of JSON: {"schema_version":1,"kind":"bowline-receipt","seal":S,"receipt":R},
// in exactly these bytes. S is "sha256:" and the SHA-256 of the bytes of R. The seal finds
// any change by accident; whoever can compute it can make another receipt, which then
// contradicts the audit log it names, and cannot have signatures of others.
package receipt

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/plan"
)

// Version of the format.
const Version = 1

const kind = "bowline-receipt"

// MaxSize bounds a receipt that is read, in bytes.
const MaxSize = 1 << 30

// Receipt is the content.
type Receipt struct {
	Made      time.Time       `json:"made"`
	By        string          `json:"by"` // login@host of whoever exported it
	Session   Session         `json:"session"`
	Script    []byte          `json:"script,omitempty"` // as it was run in the dry run
	Plan      plan.Plan       `json:"plan"`
	Decisions []plan.Approval `json:"decisions"`
	Commands  []plan.Ran      `json:"commands"`
	// Audit are the stored lines about the session, oldest first, and Chain where the
	// log stood when they were read.
	Audit []string `json:"audit"`
	Chain Chain    `json:"chain"`
}

// Session is what the store knows of it.
type Session struct {
	ID      string      `json:"id"`
	Target  string      `json:"target"`
	HostKey string      `json:"host_key"`
	Status  plan.Status `json:"status"`
	Digest  string      `json:"digest"`
	User    string      `json:"user"`
	Host    string      `json:"host"`
	Surface string      `json:"surface"`
	Note    string      `json:"note,omitempty"`
	Message string      `json:"message,omitempty"`
	Created time.Time   `json:"created"`
	Updated time.Time   `json:"updated"`
}

// Chain is a position in an audit log.
type Chain struct {
	Entries uint64 `json:"entries"`
	Last    string `json:"last"` // hash of the last entry
	Intact  bool   `json:"intact"`
}

type envelope struct {
	SchemaVersion int             `json:"schema_version"`
	Kind          string          `json:"kind"`
	Seal          string          `json:"seal"`
	Receipt       json.RawMessage `json:"receipt"`
}

// Encode returns the file.
func Encode(r Receipt) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write receipt: %w", err)
	}
	return seal(body)
}

func seal(body []byte) ([]byte, error) {
	sum := sha256.Sum256(body)
	b, err := json.Marshal(envelope{Version, kind, "sha256:" + hex.EncodeToString(sum[:]), body})
	if err != nil {
		return nil, fmt.Errorf("write receipt: %w", err)
	}
	return append(b, '\n'), nil
}

// ErrAltered means that a file is not as it was written.
var ErrAltered = errors.New("it is not as it was written")

// Decode reads a file and checks its seal, nothing more; see [Receipt.Check].
func Decode(file []byte) (Receipt, error) {
	var env envelope
	if err := json.Unmarshal(file, &env); err != nil || env.Kind != kind {
		return Receipt{}, errors.New("this is no receipt of a bowline session")
	}
	if env.SchemaVersion != Version {
		return Receipt{}, fmt.Errorf("receipt version %d; this program knows %d", env.SchemaVersion, Version)
	}
	same, err := seal(env.Receipt)
	if err != nil {
		return Receipt{}, err
	}
	if !bytes.Equal(same, file) {
		return Receipt{}, ErrAltered
	}
	var r Receipt
	d := json.NewDecoder(bytes.NewReader(env.Receipt))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Receipt{}, fmt.Errorf("read receipt: %w", err)
	}
	return r, nil
}

// Finding is one thing that was checked.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Signatures says who made an SSHSIG over a message in the namespace of approvals, at a
// time.
type Signatures func(message []byte, signature string, at time.Time) (who string, err error)

// Check checks that the parts of a receipt agree with each other: the plan with its
// digest, the decisions with the plan, the audit entries with their own hashes, and the
// status with both. signers may be nil: signatures are then said to be unchecked, and are
// no failure.
func (r Receipt) Check(signers Signatures) []Finding {
	out := []Finding{r.checkPlan()}
	for _, a := range r.Decisions {
		out = append(out, r.checkDecision(a, signers))
	}
	return append(out, r.checkAudit(), r.checkStatus())
}

func finding(name string, err error, format string, args ...any) Finding {
	if err != nil {
		return Finding{name, false, err.Error()}
	}
	return Finding{name, true, fmt.Sprintf(format, args...)}
}

func (r Receipt) checkPlan() Finding {
	digest, err := r.Plan.Digest()
	if err == nil {
		err = r.Plan.Valid()
	}
	if err == nil && (digest != r.Session.Digest || r.Plan.Session != r.Session.ID || r.Plan.HostKey != r.Session.HostKey) {
		err = fmt.Errorf("the plan has the digest %s, the session %s", digest, r.Session.Digest)
	}
	return finding("plan", err, "%d operations, %s", len(r.Plan.Ops), digest)
}

func (r Receipt) checkDecision(a plan.Approval, signers Signatures) Finding {
	name, word := "approval", "approved"
	if a.Reject {
		name, word = "rejection", "rejected"
	}
	if a.Session != r.Session.ID || a.Digest != r.Session.Digest || a.HostKey != r.Session.HostKey {
		return Finding{name, false, "it is for another plan, session or host"}
	}
	who := word + " by " + a.User + " on " + a.Host
	switch {
	case a.Signature == "":
		return Finding{name, true, who + ", not signed"}
	case signers == nil:
		return Finding{name, true, who + ", signed with " + a.KeyID + ", which was not checked"}
	}
	signer, err := signers(a.Statement(len(r.Plan.Ops)), a.Signature, a.Created)
	return finding(name, err, "%s, signed by %s", who, signer)
}

func (r Receipt) checkAudit() Finding {
	var last uint64
	for i, line := range r.Audit {
		e, err := audit.ParseEntry([]byte(line))
		if err == nil && (e.Seq <= last || e.Seq > r.Chain.Entries) {
			err = fmt.Errorf("entry %d is out of its place", e.Seq)
		}
		if err == nil && e.Session != "" && e.Session != r.Session.ID {
			err = fmt.Errorf("entry %d is about session %s", e.Seq, e.Session)
		}
		if err != nil {
			return Finding{"audit", false, fmt.Sprintf("line %d: %v", i+1, err)}
		}
		last = e.Seq
	}
	if !r.Chain.Intact {
		return Finding{"audit", false, "the log was not intact when the receipt was made"}
	}
	return Finding{"audit", true, fmt.Sprintf("%d entries up to %d of a log of %d that ends with %.12s", len(r.Audit), last, r.Chain.Entries, r.Chain.Last)}
}

// checkStatus holds the status to the audit entries: what was applied has an approval
// and an apply that was begun.
func (r Receipt) checkStatus() Finding {
	applied := r.Session.Status == plan.Executed || r.Session.Status == plan.RolledBack || r.Session.Status == plan.Partial
	verbs := map[string]bool{}
	for _, line := range r.Audit {
		if e, err := audit.ParseEntry([]byte(line)); err == nil {
			verbs[e.Verb] = true
		}
	}
	var err error
	switch {
	case applied && !verbs["apply"]:
		err = fmt.Errorf("it is %s, but the log has no apply", r.Session.Status)
	case applied && !r.approved():
		err = fmt.Errorf("it is %s, but nobody approved it", r.Session.Status)
	case r.Session.Status == plan.RolledBack && !verbs["rollback"]:
		err = errors.New("it is rolled_back, but the log has no rollback")
	}
	return finding("status", err, "%s", r.Session.Status)
}

func (r Receipt) approved() bool {
	for _, a := range r.Decisions {
		if !a.Reject {
			return true
		}
	}
	return false
}
