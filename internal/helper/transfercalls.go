package helper

import "github.com/bowline-sh/bowline/internal/transfer"

// Verbs of transfers.
const (
	VerbScan    = "transfer.scan"    // output is records of [transfer.WriteFound]
	VerbFind    = "transfer.find"    // result is a transfer.Destination
	VerbSend    = "transfer.send"    // input and output are those of transfer.Send
	VerbReceive = "transfer.receive" // of transfer.Receive
)

// ScanRequest asks what there is to copy.
type ScanRequest struct {
	transfer.ScanRequest
	Rules transfer.Policy `json:"rules"`
}

// FindRequest asks what a destination means.
type FindRequest struct {
	Path  []byte          `json:"path"`
	One   bool            `json:"one"`
	Rules transfer.Policy `json:"rules"`
}

// SendRequest makes the target the sending half.
type SendRequest struct {
	List   []transfer.Found `json:"list"`
	Basis  bool             `json:"basis,omitempty"`
	Resume bool             `json:"resume,omitempty"`
	Rules  transfer.Policy  `json:"rules"`
}

// ReceiveRequest makes the target the receiving half.
type ReceiveRequest struct {
	Dir    []byte          `json:"dir"` // canonical
	Mode   *uint32         `json:"mode,omitempty"`
	Owner  string          `json:"owner,omitempty"` // "user:group"
	Resume bool            `json:"resume,omitempty"`
	Rules  transfer.Policy `json:"rules"`
}
