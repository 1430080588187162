package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/redact"
)

// Version is the version of the entry format; see the package comment.
//
//	1  first
const Version = 1

// MaxLine bounds a line with its newline, in bytes. Writers stay below it by
// bounding every field; readers do not hold more in memory.
const MaxLine = 1 << 20

// Event says what an entry tells.
type Event string

const (
	EventIntent  Event = "intent"  // about to be done
	EventOutcome Event = "outcome" // what came of the intent with the same ID
	EventNote    Event = "note"    // anything else
)

// Status is how an operation ended.
type Status string

const (
	OK      Status = "ok"      // done; a command exited with 0
	Failed  Status = "failed"  // a command ran and did not exit with 0
	Refused Status = "refused" // policy, profile or a person refused; nothing ran
	Error   Status = "error"   // Bowline or the link failed; see Kind
)

// Actor is who acts, and through what.
type Actor struct {
	User    string `json:"user"`
	Host    string `json:"host,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Surface string `json:"surface,omitempty"` // cli, api, mcp, web
	Client  string `json:"client,omitempty"`  // the program behind an API or MCP
}

// Result is the end of an operation.
type Result struct {
	Status      Status    `json:"status"`
	Kind        diag.Kind `json:"kind,omitempty"`
	ExitCode    *int      `json:"exit_code,omitempty"` // nil: nothing exited
	Signal      string    `json:"signal,omitempty"`
	DurationMS  int64     `json:"duration_ms"`
	TimedOut    bool      `json:"timed_out,omitempty"`
	Truncated   bool      `json:"truncated,omitempty"`
	StdoutBytes int64     `json:"stdout_bytes"`
	StderrBytes int64     `json:"stderr_bytes"`
	Error       string    `json:"error,omitempty"`
}

// Entry is one record as it is stored. The order of its fields is that of the
// format; Prev and Hash come last.
type Entry struct {
	Version int               `json:"v"`
	Seq     uint64            `json:"seq"`
	Time    time.Time         `json:"time"`
	ID      string            `json:"id"` // of the operation, shared by its entries
	Event   Event             `json:"event"`
	Verb    string            `json:"verb"`
	Actor   Actor             `json:"actor"`
	Session string            `json:"session,omitempty"`
	Target  string            `json:"target,omitempty"`
	Address string            `json:"address,omitempty"`
	Login   string            `json:"login,omitempty"`
	HostKey string            `json:"host_key,omitempty"`
	KeyID   string            `json:"key_id,omitempty"`
	Profile string            `json:"profile,omitempty"`
	Argv    []string          `json:"argv,omitempty"` // masked
	Cwd     string            `json:"cwd,omitempty"`
	Env     []string          `json:"env,omitempty"` // names; values are never stored
	Digests map[string]string `json:"digests,omitempty"`
	Attempt int               `json:"attempt,omitempty"`
	Text    string            `json:"text,omitempty"`
	Result  *Result           `json:"result,omitempty"`
	Prev    string            `json:"prev"`
	Hash    string            `json:"hash"`

	raw []byte // the line it was read from or written as, without newline
}

// Raw returns the stored line without its newline, nil for an entry that was
// not read from a log.
func (e Entry) Raw() []byte { return bytes.Clone(e.raw) }

// zeroHash is the hash before the first entry.
var zeroHash = strings.Repeat("0", hashDigits)

const (
	hashDigits = 2 * sha256.Size
	hashOpen   = `,"hash":"`
	hashClose  = `"}`
	sealLen    = len(hashOpen) + hashDigits + len(hashClose) // 75
)

// seal sets e.Hash and returns the line that stores e, with its newline.
func (e *Entry) seal() ([]byte, error) {
	e.Version, e.Hash = Version, ""
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // "a && b" shall read as such
	if err := enc.Encode(e); err != nil {
		return nil, fmt.Errorf("encode entry: %w", err)
	}
	body, ok := bytes.CutSuffix(b.Bytes(), []byte(hashOpen+hashClose+"\n"))
	if !ok {
		panic("audit: Hash is not the last field of Entry")
	}
	line := escapeHostile(body)
	e.Hash = hashOf(line)
	line = append(line, hashOpen+e.Hash+hashClose...)
	e.raw = bytes.Clone(line)
	if len(line)+1 > MaxLine {
		return nil, fmt.Errorf("entry of %d bytes is longer than %d", len(line), MaxLine)
	}
	return append(line, '\n'), nil
}

func hashOf(canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}

// escapeHostile writes characters that JSON allows and a terminal obeys as
// JSON escapes. They occur only inside strings.
func escapeHostile(b []byte) []byte {
	out := make([]byte, 0, len(b)+sealLen+1)
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf && b[i] != 0x7f {
			out = append(out, b[i])
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case !redact.Hostile(r):
			out = append(out, b[i:i+n]...)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += n
	}
	return out
}

// ErrEdited is wrapped by ParseEntry for a line whose hash is not that of its
// content.
var ErrEdited = errors.New("content does not have the hash it states")

// ErrUnparseable is wrapped by ParseEntry for a line that is no entry.
var ErrUnparseable = errors.New("not an entry")

// ParseEntry parses one line, without its newline, and checks its hash. It
// cannot check the entry's place in the chain.
func ParseEntry(line []byte) (Entry, error) {
	if len(line) >= MaxLine {
		return Entry{}, fmt.Errorf("%w: longer than %d bytes", ErrUnparseable, MaxLine)
	}
	body, hash, ok := cutSeal(line)
	if !ok {
		return Entry{}, fmt.Errorf("%w: does not end with a hash", ErrUnparseable)
	}
	if hashOf(body) != hash {
		return Entry{}, ErrEdited
	}
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrUnparseable, err)
	}
	if err := e.check(hash); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrUnparseable, err)
	}
	e.raw = bytes.Clone(line)
	return e, nil
}

func cutSeal(line []byte) (body []byte, hash string, ok bool) {
	at := len(line) - sealLen
	if at < 0 {
		return nil, "", false
	}
	seal := string(line[at:])
	hash = seal[len(hashOpen) : len(hashOpen)+hashDigits]
	if !strings.HasPrefix(seal, hashOpen) || !strings.HasSuffix(seal, hashClose) || !isHash(hash) {
		return nil, "", false
	}
	return line[:at], hash, true
}

func (e *Entry) check(hash string) error {
	switch {
	case e.Version < 1:
		return errors.New("no version")
	case e.Version > Version:
		return fmt.Errorf("version %d is newer than this program", e.Version)
	case e.Seq == 0:
		return errors.New("no sequence number")
	case !isHash(e.Prev):
		return errors.New("no hash of the entry before")
	case e.Hash != hash:
		return errors.New("two hashes")
	}
	return nil
}

func isHash(s string) bool {
	return len(s) == hashDigits && strings.Trim(s, "0123456789abcdef") == ""
}
