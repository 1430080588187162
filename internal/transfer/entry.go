package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Type of an entry.
type Type string

// Types that are copied. Everything else is Other.
const (
	File    Type = "file"
	Dir     Type = "dir"
	Symlink Type = "symlink"
	Other   Type = "other"
)

// Entry is one path to be made at the destination. Paths are any bytes, so they
// are bytes in JSON.
type Entry struct {
	Index int    `json:"i"`            // names it in results
	Path  []byte `json:"p"`            // below the destination
	Type  Type   `json:"t"`            //
	Mode  uint32 `json:"m,omitempty"`  // permission bits
	MTime int64  `json:"mt,omitempty"` // nanoseconds since 1970
	Size  int64  `json:"s,omitempty"`  // of a file; -1 if nobody knows
	Link  []byte `json:"l,omitempty"`  // text of a symbolic link
	ID    string `json:"id,omitempty"` // tells this content from others of the same name
	Ask   bool   `json:"a,omitempty"`  // the sender waits for a basis
	Final bool   `json:"f,omitempty"`  // a directory that was made before: set mode and time
}

// Found is an Entry and where its content stands.
type Found struct {
	Entry
	Root []byte `json:"root"` // canonical directory at the source
	From []byte `json:"from"` // below Root
}

// Status of one entry after a transfer.
type Status string

// The outcomes. Only Verified and Made are success.
const (
	Verified   Status = "verified"   // in place; both sides have the same SHA-256
	Made       Status = "made"       // a directory or symbolic link is in place
	Mismatched Status = "mismatched" // the bytes that arrived differ; not put in place
	Unverified Status = "unverified" // in place, but nobody could compute a digest of it
	Changed    Status = "changed"    // it changed while it was read; not put in place
	Failed     Status = "failed"     // see Error; not put in place
)

// OK reports whether the outcome is a success.
func (s Status) OK() bool { return s == Verified || s == Made }

// Result is what became of one entry.
type Result struct {
	Index   int    `json:"i"`
	Status  Status `json:"s"`
	SHA256  string `json:"d,omitempty"`  // of what is in place, hexadecimal
	By      string `json:"by,omitempty"` // what computed it: "bowline", "sha256sum", "read-back", ...
	Size    int64  `json:"n,omitempty"`
	Reused  int64  `json:"r,omitempty"` // bytes that were there already
	Created bool   `json:"c,omitempty"` // the directory was not there before
	Error   string `json:"e,omitempty"` // hostile text where it comes from a target
	Kind    string `json:"k,omitempty"` // diag kind of Error
}

// Chunk is a stretch of what is there already: the bytes from the end of the one
// before.
type Chunk struct {
	N      int64  `json:"n"`
	SHA256 []byte `json:"d"`
}

// Basis is what the receiving side has of a file.
type Basis struct {
	Chunks []Chunk `json:"c,omitempty"` // in its place: what an earlier transfer left
	Old    []Chunk `json:"o,omitempty"` // of an older version, cut by its content
}

const (
	minChunk  = 1 << 20 // bytes; what a broken link costs at most
	maxChunks = 16 << 10
	// basisFrom is the size from which it is worth a round trip to ask what the
	// other side has.
	basisFrom = 1 << 20
)

// chunkFor keeps the number of chunks of a file bounded.
func chunkFor(size int64) int64 {
	n := (size + maxChunks - 1) / maxChunks
	return max(minChunk, (n+minChunk-1)/minChunk*minChunk)
}

// ValidPath reports why p cannot name something below a directory, or nil. "." is
// the directory itself.
func ValidPath(p string) error {
	switch {
	case p == "" || strings.ContainsRune(p, 0):
		return fmt.Errorf("%q is no path", p)
	case p != path.Clean(p) || path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../"):
		return fmt.Errorf("%q leads out of the destination", p)
	}
	return nil
}

// valid checks an entry as it comes from the other side.
func (e *Entry) valid() error {
	if err := ValidPath(string(e.Path)); err != nil {
		return err
	}
	switch {
	case e.Type != File && e.Type != Dir && e.Type != Symlink:
		return fmt.Errorf("%q is of type %q", e.Path, e.Type)
	case string(e.Path) == "." && e.Type != Dir:
		return errors.New("the destination itself cannot be replaced")
	case e.Mode&^0o7777 != 0 || e.Size < -1 || e.Index < 0:
		return fmt.Errorf("%q has values out of range", e.Path)
	case e.Type == Symlink && (len(e.Link) == 0 || strings.ContainsRune(string(e.Link), 0)):
		return fmt.Errorf("%q is a symbolic link to nowhere", e.Path)
	}
	return nil
}

// tempPrefix begins the names of our temporaries.
const tempPrefix = ".bowline-"

// keptName is where a resumable transfer of e keeps what arrived: the same for
// every transfer of the same content to the same name.
func keptName(e *Entry) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %d %q", path.Base(string(e.Path)), e.Size, e.MTime, e.ID))
	return tempPrefix + hex.EncodeToString(sum[:12]) + ".part"
}
