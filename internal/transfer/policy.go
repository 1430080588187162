package transfer

import (
	"path"
	"strings"

	"github.com/bowline-sh/bowline/diag"
)

// Policy says which paths of a target may be read or written at all. Paths are
// absolute and clean; those of links are judged by where they lead.
type Policy struct {
	Allow  []string `json:"allow,omitempty"`  // roots; empty allows everything
	Refuse []string `json:"refuse,omitempty"` // and everything below; goes before Allow
}

// Check refuses an absolute path, after "." and ".." are resolved, with an error of
// kind Refused.
func (p Policy) Check(abs string) error {
	clean := path.Clean(abs)
	for _, r := range p.Refuse {
		if Below(clean, r) {
			return refused("%q is refused", abs)
		}
	}
	if len(p.Allow) == 0 || p.root(clean) != "" {
		return nil
	}
	return refused("%q is outside the allowed roots %q", abs, p.Allow)
}

func refused(format string, args ...any) error {
	return diag.New(diag.Refused, "", "see [transfer] in the file that 'bowline config path' names", format, args...)
}

// root returns the longest allowed root that holds clean, or "".
func (p Policy) root(clean string) string {
	best := ""
	for _, r := range p.Allow {
		if Below(clean, r) && len(r) > len(best) {
			best = r
		}
	}
	return best
}

// Below reports whether the clean path p is root or below it.
func Below(p, root string) bool {
	return p == root || root == "/" || strings.HasPrefix(p, root+"/")
}

func isRefused(err error) bool { return diag.KindOf(err) == diag.Refused }
