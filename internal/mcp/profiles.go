package mcp

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/profile"
)

// looksOnly reports whether nothing that runs under p can change the host or reach a
// network: what a model gets unless somebody named other profiles.
func looksOnly(p profile.Profile) bool {
	writes := slices.ContainsFunc(p.Binds, func(b profile.Bind) bool { return !b.ReadOnly })
	return !writes && p.NetworkIsolation && !p.UnixSockets && len(p.AdditionalArgs) == 0 && p.SeccompProfile == nil
}

// profiles lists what may be used.
func (s *Server) profiles(ctx context.Context) ([]bowline.ProfileInfo, error) {
	all, err := s.cfg.Client.Profiles(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(p bowline.ProfileInfo) bool {
		if len(s.cfg.Profiles) > 0 {
			return p.Err != nil || !slices.Contains(s.cfg.Profiles, p.Profile.Name)
		}
		return p.Err != nil || !looksOnly(p.Profile)
	}), nil
}

// mayNetwork refuses the network to a dry run where no profile that is offered has it:
// what goes out cannot be reviewed, and nobody has approved anything yet.
func (s *Server) mayNetwork(ctx context.Context, wanted bool) error {
	if !wanted {
		return nil
	}
	list, err := s.profiles(ctx)
	if err != nil || slices.ContainsFunc(list, func(p bowline.ProfileInfo) bool { return !p.Profile.NetworkIsolation }) {
		return err
	}
	return diag.New(diag.Denied, "use the network in a dry run", "leave 'network' out; or a person starts this server with a profile that has the network: 'bowline mcp serve --profile NAME'",
		"no profile that this server was given has the network")
}

// checkProfiles finds out early that a name is wrong.
func (s *Server) checkProfiles(ctx context.Context) error {
	list, err := s.profiles(ctx)
	if err != nil {
		return err
	}
	for _, name := range s.cfg.Profiles {
		if !slices.ContainsFunc(list, func(p bowline.ProfileInfo) bool { return p.Profile.Name == name }) {
			return diag.New(diag.Usage, "serve MCP", "see 'bowline profile list'", "there is no usable profile %q", name)
		}
	}
	return nil
}

// profile returns the profile of a run: a name that is allowed, never a file. Without
// one it is "readonly" where that is allowed, else the first.
func (s *Server) profile(ctx context.Context, name string) (string, error) {
	list, err := s.profiles(ctx)
	if err != nil {
		return "", err
	}
	var known []string
	for _, p := range list {
		known = append(known, p.Profile.Name)
	}
	if name == "" && len(known) > 0 {
		if slices.Contains(known, "readonly") {
			return "readonly", nil
		}
		return known[0], nil
	}
	if !slices.Contains(known, name) {
		return "", diag.New(diag.Denied, "use profile "+line(name, 64), "use one of: "+cmp.Or(strings.Join(known, ", "), "none"), "it is not among those that this server was given")
	}
	return name, nil
}
