package bowline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/internal/fleet"
)

// FleetOptions say how a fleet is worked on.
type FleetOptions struct {
	Fanout int    // targets at a time; 0 means 64
	Waves  string // sizes, as in "1,10%,100%"; "" is one wave of all
	// MaxFailures, a number or a share as "10%", stops the fleet when more have failed.
	// "" never does, but with Waves a failure ends the fleet after its wave.
	MaxFailures string
	Order       string // "" as in the configuration, "name" or "random"
}

func (o FleetOptions) parse() (fleet.Options, error) {
	out := fleet.Options{Fanout: o.Fanout, Order: fleet.Order(o.Order)}
	var err error
	if out.Waves, err = fleet.ParseWaves(o.Waves); err != nil {
		return out, diag.New(diag.Usage, "read waves", "as in --wave 1,10%,100%", "%w", err)
	}
	if o.MaxFailures != "" {
		size, err := fleet.ParseSize(o.MaxFailures)
		if err != nil {
			return out, diag.New(diag.Usage, "read failures", "as in --max-failures 3 or 10%", "%w", err)
		}
		out.MaxFailures = &size
	}
	if o.Fanout < 0 {
		return out, diag.New(diag.Usage, "read fan-out", "as in --fanout 64", "%d: must not be negative", o.Fanout)
	}
	return out, nil
}

// Class is how a target of a fleet ended.
type Class string

const (
	ClassOK          Class = "ok"          // exit code 0
	ClassFailed      Class = "failed"      // ran, with another exit code
	ClassTimedOut    Class = "timed_out"   // ran, and was killed by its deadline
	ClassUnreachable Class = "unreachable" // nothing ran
	ClassUntrusted   Class = "untrusted"   // host key or helper; nothing ran
	ClassRefused     Class = "refused"     // login, profile, policy or approval; nothing ran
	ClassLost        Class = "lost"        // nobody knows
	ClassError       Class = "error"       // Bowline failed, see the error
	ClassCanceled    Class = "canceled"    // stopped by the caller
	ClassSkipped     Class = "skipped"     // never begun

	// These are only of sessions.
	ClassConflict Class = "conflict" // the target changed since the plan; nothing was touched
	ClassPartial  Class = "partial"  // done in part: resume or roll back
	ClassLeftOut  Class = "left_out" // there is nothing to do for it
)

// classOf puts an outcome into its class.
func classOf(res RunResult, err error) Class {
	switch kind := diag.KindOf(err); {
	case err == nil && res.TimedOut:
		return ClassTimedOut
	case err == nil && res.ExitCode != 0:
		return ClassFailed
	case err == nil:
		return ClassOK
	case kind == diag.Unreachable:
		return ClassUnreachable
	case kind == diag.Untrusted:
		return ClassUntrusted
	case kind == diag.Denied || kind == diag.Refused:
		return ClassRefused
	case kind == diag.Lost:
		return ClassLost
	case kind == diag.Canceled || errors.Is(err, context.Canceled):
		return ClassCanceled
	default:
		return ClassError
	}
}

// FleetResult is what came of one target.
type FleetResult struct {
	RunResult
	Class Class
	Err   error
}

// FleetReport counts what came of a fleet.
type FleetReport struct {
	Targets []string           // in the order they were begun in
	Classes map[Class][]string // names, sorted
}

// OK reports whether every target succeeded.
func (r FleetReport) OK() bool { return len(r.Classes[ClassOK]) == len(r.Targets) }

func (r FleetReport) sort() {
	for _, list := range r.Classes {
		slices.Sort(list)
	}
}

// RunFleet runs a command on all targets that a selector means. began and ended are
// told of each, the latter exactly once; they are called one at a time. What a target
// gave is in its result, as in Run; the report keeps no output. An error means that
// nothing was begun; what failed on targets is in the report.
func (c *Client) RunFleet(ctx context.Context, names []string, req RunRequest, o FleetOptions, began func(target string), ended func(FleetResult)) (FleetReport, error) {
	opts, err := o.parse()
	if err != nil {
		return FleetReport{}, err
	}
	if req.Stdin != nil && len(names) > 1 {
		return FleetReport{}, diag.New(diag.Usage, "run", "name one target, or leave out --stdin", "standard input cannot be read by %d commands", len(names))
	}
	if names, err = opts.Arrange(names); err != nil {
		return FleetReport{}, diag.New(diag.Usage, "read order", "", "%w", err)
	}
	if err := opts.CheckFiles(len(names)); err != nil {
		return FleetReport{}, diag.New(diag.Usage, "run", "raise the limit with 'ulimit -Hn 65536', or name fewer targets at a time", "%w", err)
	}
	report := FleetReport{Targets: names, Classes: map[Class][]string{}}
	var mu sync.Mutex
	end := func(r FleetResult) {
		mu.Lock()
		defer mu.Unlock()
		report.Classes[r.Class] = append(report.Classes[r.Class], r.Target)
		ended(r)
	}
	fleet.Do(ctx, opts, names, func(ctx context.Context, name string) bool {
		mu.Lock()
		began(name)
		mu.Unlock()
		one := req
		one.Target = name
		res, err := c.Run(ctx, one)
		res.Target = name
		class := classOf(res, err)
		end(FleetResult{res, class, err})
		return class == ClassOK
	}, func(name string) {
		end(FleetResult{RunResult: RunResult{Target: name, Argv: req.Argv}, Class: ClassSkipped})
	})
	report.sort()
	return report, c.rememberFailed(report)
}

// fleetFile keeps which targets of the last fleet did not succeed.
const fleetFile = "last-fleet.json"

type lastFleet struct {
	Failed []string `json:"failed"`
}

func (c *Client) fleetPath() string {
	return filepath.Join(filepath.Dir(c.parts.Paths.Store), fleetFile)
}

func (c *Client) rememberFailed(r FleetReport) error {
	last := lastFleet{Failed: []string{}}
	for _, name := range r.Targets {
		if !slices.Contains(r.Classes[ClassOK], name) {
			last.Failed = append(last.Failed, name)
		}
	}
	b, err := json.Marshal(last)
	if err == nil {
		err = durable.WriteFile(c.fleetPath(), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note which targets failed: %w", err)
	}
	return nil
}

// LastFailed lists the targets of the last fleet that did not succeed, or were never
// begun.
func (c *Client) LastFailed() ([]string, error) {
	b, err := os.ReadFile(c.fleetPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, diag.New(diag.Usage, "retry", "run it on a selector first, as in 'bowline run -t all -- uptime'", "no fleet was run here yet")
	}
	var last lastFleet
	if err == nil {
		err = json.Unmarshal(b, &last)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", c.fleetPath(), err)
	}
	return last.Failed, nil
}

// OutputGroup is the targets of a fleet that gave the same output and exit code.
type OutputGroup = fleet.Group

// OutputGroups gathers them.
type OutputGroups = fleet.Groups
