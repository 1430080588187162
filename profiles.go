package bowline

import (
	"context"
	"os"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/profile"
)

// ProfileInfo is a profile and where it comes from.
type ProfileInfo struct {
	Profile profile.Profile
	Origin  string // file, or "built-in"
	Err     error  // why the file cannot be used; Profile then holds only the name
}

// Profiles lists all profiles by name: a person's own hide built-in ones of the
// same name. A file that cannot be used is listed with its error.
func (c *Client) Profiles(ctx context.Context) ([]ProfileInfo, error) {
	list := c.parts.Profiles.List()
	out := make([]ProfileInfo, len(list))
	for i, p := range list {
		out[i] = ProfileInfo(p)
	}
	return out, ctx.Err()
}

// Profile returns one profile, by name or file. Errors are of kind usage.
func (c *Client) Profile(ctx context.Context, name string) (ProfileInfo, error) {
	p, err := c.parts.Profiles.Get(name)
	if err != nil {
		return ProfileInfo{}, err
	}
	return ProfileInfo(p), ctx.Err()
}

// Explanation says what would happen to a command under a profile, and why.
type Explanation struct {
	Profile  string
	Origin   string
	Allowed  bool
	Reason   string   // of the allow-list's verdict
	Warnings []string // what weakens the confinement
	Line     string   // the bubblewrap command, as a POSIX shell would read it; "" without a command
}

// ExplainProfile explains a profile and, if argv is not empty, what would become
// of that command. Nothing runs. Masks are shown for the paths that exist on
// this machine; on another target they may differ.
func (c *Client) ExplainProfile(ctx context.Context, name string, argv []string) (Explanation, error) {
	p, err := c.parts.Profiles.Get(name)
	if err != nil {
		return Explanation{}, err
	}
	ex := Explanation{Profile: p.Profile.Name, Origin: p.Origin, Warnings: p.Profile.Warnings()}
	if len(argv) == 0 {
		return ex, ctx.Err()
	}
	v := p.Profile.Allows(argv[0])
	ex.Allowed, ex.Reason = v.Allowed, v.Reason
	ex.Line, err = sandbox.Line(sandbox.Spec{Profile: p.Profile, Argv: argv}, func(file string) (dir, ok bool) {
		info, err := os.Stat(file)
		return err == nil && info.IsDir(), err == nil
	})
	if err != nil {
		return ex, diag.New(diag.Usage, "explain profile", "", "%w", err)
	}
	return ex, ctx.Err()
}
