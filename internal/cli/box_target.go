package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

// boxTarget resolves the target of boxes: one, by name, that may have boxes.
func (env *Env) boxTarget(ctx context.Context, c *bowline.Client, given string) (string, error) {
	all, err := c.Targets(ctx, "")
	if err != nil {
		return "", err
	}
	text, origin := given, "-t"
	if text == "" {
		text, origin = env.Getenv("BOWLINE_TARGET"), "$BOWLINE_TARGET"
	}
	if text == "" {
		text, origin = bowline.LocalTarget, "" // which is refused, with the reason
		if i := slices.IndexFunc(all, func(t bowline.TargetInfo) bool { return t.Default && t.Source != "" }); i >= 0 {
			text, origin = all[i].Name, "default_target"
		}
	}
	names, err := targetNames(ctx, c, text)
	if err == nil && len(names) != 1 {
		err = diag.New(diag.Usage, "choose a target", "name one: '-t NAME'", "boxes are on one target, and %q matches %d", text, len(names))
	}
	if err == nil {
		err = c.BoxServer(ctx, names[0])
	}
	if err != nil {
		return "", notServer(err, origin, servers(all, text))
	}
	return names[0], nil
}

// servers are the names of targets that may have boxes, but one.
func servers(all []bowline.TargetInfo, but string) []string {
	var out []string
	for _, t := range all {
		if t.Kind == target.SSH && t.Refused == "" && t.Name != but {
			out = append(out, t.Name)
		}
	}
	return out
}

// maxServers keeps the hint readable.
const maxServers = 10

// notServer adds to why a target cannot have boxes who named it, and which others there are.
func notServer(err error, origin string, others []string) error {
	hint := diag.HintOf(err)
	if len(others) > 0 {
		more := ""
		if len(others) > maxServers {
			others, more = others[:maxServers], "..."
		}
		hint = "targets over ssh: " + strings.Join(others, ", ") + more + "; choose one: '-t " + others[0] + "'\n" + hint
	}
	switch origin {
	case "":
		err = fmt.Errorf("no target was named, so it would be this machine: %w", err)
	case "-t":
	default:
		err = fmt.Errorf("%w (the target is named by %s)", err, origin)
	}
	return diag.New(diag.KindOf(err), "", hint, "%w", err)
}

// boxDefaults is what the configuration says of boxes on a target.
func boxDefaults(ctx context.Context, c *bowline.Client, name string) (bowline.BoxDefaults, error) {
	list, err := c.Targets(ctx, name)
	if err != nil || len(list) != 1 || list[0].Box == nil {
		return bowline.BoxDefaults{}, err
	}
	return *list[0].Box, nil
}

// fill sets in a spec what no flag said. A recipe is an image that a flag asked for, and its
// variables win over those of the configuration.
func (o boxOptions) fill(spec *bowline.BoxSpec, d bowline.BoxDefaults) {
	if !o.given("image") && spec.Recipe == nil {
		spec.Image = d.Image
	}
	if !o.given("memory") {
		spec.Memory = d.Memory
	}
	if !o.given("cpus") {
		spec.CPUs = d.CPUs
	}
	if !o.given("pids") {
		spec.Pids = d.Pids
	}
	if !o.given("publish") {
		spec.Publish = d.Publish
	}
	if !o.given("dotfiles") {
		spec.Dotfiles = cmp.Or(spec.Dotfiles, d.Dotfiles)
	}
	vars := maps.Clone(d.Env)
	if vars == nil {
		vars = map[string]string{}
	}
	if spec.Recipe != nil {
		maps.Copy(vars, spec.Recipe.Env)
	}
	maps.Copy(vars, spec.Env)
	spec.Env = vars
}
