package caller

import (
	"context"
	"errors"
	"strings"
)

// ErrFile means that a caller from elsewhere named a file of this machine.
var ErrFile = errors.New("a profile is named, not a file: files of this machine are nothing that a caller from elsewhere names")

// Name reports why a caller may not call a profile so: whoever comes with a grant, and
// every model, names profiles that are known here and no files. A file could say anything
// under the name of a profile that the grant is bound to, and the errors of one that is
// none tell of its content.
func (c Caller) Name(profile string) error {
	file := strings.ContainsAny(profile, "/\\") || strings.HasSuffix(profile, ".toml") || strings.HasSuffix(profile, ".json")
	if file && (c.Grant != nil || c.Surface == MCP) {
		return ErrFile
	}
	return nil
}

// Permit reports why the grant of ctx, if there is one, does not allow an act that the
// policy has no rules for, or nil; see [Grant].
func Permit(ctx context.Context, do, target string) error {
	g := From(ctx, Caller{}).Grant
	if g == nil {
		return nil
	}
	return g.Permit(do, target, "")
}

// Name is [Caller.Name] of who calls with ctx.
func Name(ctx context.Context, profile string) error { return From(ctx, Caller{}).Name(profile) }
