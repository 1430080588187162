package helper

import "time"

// VerbHeads asks for the heads that clients left.
const VerbHeads = "heads"

// Head says where the audit log of a machine that acts on targets stood, signed by that
// machine (package witness). Clients leave theirs with what they plan and apply; the
// target keeps the last few of each machine and judges nothing.
type Head struct {
	Chain     string    `json:"chain"` // 32 hex digits
	Key       []byte    `json:"key"`   // ed25519, that the chain is named after
	Host      string    `json:"host"`
	Seq       uint64    `json:"seq"`
	Hash      string    `json:"hash"`
	Time      time.Time `json:"time"`
	Signature []byte    `json:"signature"`
}

// HeadsResult is what VerbHeads answers: what lies there, unchecked.
type HeadsResult struct {
	Heads []Head `json:"heads"`
}

const (
	// maxHeads is how many heads are kept of each chain. One would do: those before
	// show for how long a log was whole.
	maxHeads = 8
	// MaxChains is how many chains heads are kept of. Of more, that which was left
	// longest ago goes.
	MaxChains = 128
	// maxHead bounds one head, in bytes.
	maxHead = 2 << 10
)
