package bowline

import (
	"context"
	"io"
	"time"

	"github.com/bowline-sh/bowline/internal/transfer/copier"
)

// CopyLocation is a path on a target, or on this machine if Target is "". On a
// target it is absolute or starts from the login's home, and as a source it may hold
// *, ? and [], which stand for names as in path.Match.
type CopyLocation struct {
	Target string
	Path   string // any bytes but NUL; "-" on this machine means Stdin or Stdout
}

// CopyRequest is files to be copied. Sources, all of one side, and Dest are required,
// and one of the two sides is a target.
type CopyRequest struct {
	Sources   []CopyLocation
	Dest      CopyLocation // a directory to copy into, or the name of the copy
	Recursive bool         // directories too, symbolic links as links
	Resume    bool         // go on where an earlier copy was broken off; keep what arrived if this one is
	Mode      *uint32      // permission bits of files; nil means those of the source
	Owner     string       // "user:group" of what is made; "" means as it comes
	Roots     []string     // directories of this machine, without links in them, that nothing may lead out of; none means everything
	Stdin     io.Reader
	Stdout    io.Writer
	Timeout   time.Duration // of everything, connecting included; 0 means none

	// Progress is told of every step, from several goroutines but never at the
	// same time; optional. It must not block.
	Progress func(CopyProgress)
}

// CopyProgress is how far a copy is. Totals are 0 until they are known.
type CopyProgress struct {
	Files, TotalFiles int
	Bytes, TotalBytes int64
}

// Statuses of a copied file. Only the first two are success.
const (
	CopyVerified   = "verified"   // in place; both sides have the same SHA-256
	CopyMade       = "made"       // a directory or symbolic link is in place
	CopyMismatched = "mismatched" // the bytes that arrived differ; not put in place
	CopyUnverified = "unverified" // in place, but nothing could compute a digest of it
	CopyChanged    = "changed"    // it changed while it was read; not put in place
	CopyFailed     = "failed"     // not put in place
)

// CopiedFile is what became of one path.
type CopiedFile struct {
	Path   string // below Dest's directory
	Type   string // file, dir or symlink
	Status string
	Size   int64
	Reused int64  // bytes that were there already
	SHA256 string // of both sides, if verified
	By     string // what computed it at the destination: bowline, sha256sum, read-back, ...
	Error  string // hostile text
}

// CopyResult is what became of a copy. With an error, it holds what is known.
type CopyResult struct {
	Files    []CopiedFile // those that were not reached are missing
	Total    int          // how many paths there were to copy
	Bytes    int64        // content that is in place and verified
	Notices  []string     // what was left out or came out differently; hostile text
	Way      string       // helper, agentless or local
	Duration time.Duration
	AuditID  string // of the entry in the audit log; "" if nothing was recorded
}

// Copy copies files and trees between this machine and a target, or between two
// targets. Every file goes to a temporary name beside its own, is hashed on both
// sides and renamed: an existing file survives whatever goes wrong.
//
// A nil error means that everything is in place, that every file is verified and
// that this is on record. Otherwise the kind tells why: refused by the [transfer]
// rules (nothing was copied of what is refused), conflict if bytes differed, lost,
// timeout or canceled if it was broken off; Files says what is in place.
func (c *Client) Copy(ctx context.Context, req CopyRequest) (CopyResult, error) {
	return copyWith(ctx, c.parts.Copier, req)
}

func copyWith(ctx context.Context, cp *copier.Copier, req CopyRequest) (CopyResult, error) {
	r := copier.Request{Dest: copier.Location(req.Dest), Recursive: req.Recursive, Resume: req.Resume, Mode: req.Mode,
		Owner: req.Owner, Roots: req.Roots, Stdin: req.Stdin, Stdout: req.Stdout, Timeout: req.Timeout}
	for _, s := range req.Sources {
		r.Sources = append(r.Sources, copier.Location(s))
	}
	if req.Progress != nil {
		r.Progress = func(p copier.Progress) { req.Progress(CopyProgress(p)) }
	}
	res, err := cp.Copy(ctx, r)
	out := CopyResult{Total: res.Total, Bytes: res.Bytes, Notices: res.Notices, Way: res.Way, Duration: res.Duration, AuditID: res.AuditID}
	for _, f := range res.Files {
		out.Files = append(out.Files, CopiedFile{Path: f.Path, Type: string(f.Type), Status: string(f.Status), Size: f.Size, Reused: f.Reused, SHA256: f.SHA256, By: f.By, Error: f.Error})
	}
	return out, err
}
