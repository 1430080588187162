package bowline

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/foreign"
	"github.com/bowline-sh/bowline/target"
)

// ImportRequest is a configuration file of Shannot, L8s or the remote executor.
type ImportRequest struct {
	Data   []byte // the file
	DryRun bool   // change nothing, only say what would be
}

// ImportedTarget is a target of the file.
type ImportedTarget struct {
	target.Target
	Line   int  // of the file
	Exists bool // a target of this name is configured already; it was not touched
}

// ImportNote says what of the file does not come along, or comes along changed.
type ImportNote struct {
	Line int    // 0 if it is about the whole file
	Key  string // dotted; hostile text
	Text string
}

// ImportResult is what came of an import.
type ImportResult struct {
	System  string // "shannot", "l8s" or "remote-executor"
	Targets []ImportedTarget
	Default string // the default of the old system; it is not set here
	Notes   []ImportNote
	Omitted int // notes beyond the first thousand
	Stored  int // targets that were written to config.toml
}

// ImportConfig reads a configuration file of an earlier system and adds its targets to
// config.toml, all or none. Targets that exist are never changed. No host key is trusted
// by it and no secret taken over. With an error nothing was written.
func (c *Client) ImportConfig(ctx context.Context, req ImportRequest) (ImportResult, error) {
	home, homeErr := os.UserHomeDir()
	read, err := foreign.Read(req.Data, foreign.Options{
		Exists: func(path string) bool {
			if rest, ok := strings.CutPrefix(path, "~/"); ok && homeErr == nil {
				path = filepath.Join(home, rest)
			}
			info, err := os.Stat(path)
			return err == nil && info.Mode().IsRegular()
		},
		KnownProfile: func(name string) bool { _, err := c.parts.Profiles.Get(name); return err == nil },
	})
	if err != nil {
		return ImportResult{}, diag.New(diag.Usage, "import configuration", "see what can be read with 'bowline config import --help'", "%w", err)
	}
	res := ImportResult{System: string(read.System), Default: read.Default, Omitted: read.Omitted}
	for _, n := range read.Notes {
		res.Notes = append(res.Notes, ImportNote(n))
	}
	var add []target.Target
	for _, t := range read.Targets {
		exists := c.parts.SourceOf(t.Name) != ""
		res.Targets = append(res.Targets, ImportedTarget{Target: t.Target, Line: t.Line, Exists: exists})
		if !exists {
			add = append(add, t.Target)
		}
	}
	if req.DryRun || len(add) == 0 {
		return res, ctx.Err()
	}
	if err := c.parts.Inventory.Import(ctx, add, res.System); err != nil {
		return res, err
	}
	res.Stored = len(add)
	return res, nil
}
