package wire

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/internal/config"
	"github.com/bowline-sh/bowline/internal/policy"
)

// rules is what stands in the file now: a server runs for days, and a rule or person that
// was added or taken away must count for its next call.
type rules struct {
	file, home string

	mu   sync.Mutex // guards what follows
	seen stamp
	last config.Config
	err  error
}

// stamp tells one state of a file from another.
type stamp struct {
	changed time.Time
	size    int64
	exists  bool
}

func stampOf(file string) stamp {
	fi, err := os.Stat(file)
	if err != nil {
		return stamp{}
	}
	return stamp{fi.ModTime(), fi.Size(), true}
}

// newRules starts from a configuration that was read just now.
func newRules(file, home string, cfg config.Config) *rules {
	return &rules{file: file, home: home, last: cfg, seen: stamp{size: -1}}
}

// now reads the file again if it is not what was read before. A file that cannot be
// read refuses everything: nobody knows what it would say.
func (r *rules) now() (config.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := stampOf(r.file); s != r.seen {
		cfg, err := config.Load(r.file, r.home)
		r.seen, r.last, r.err = s, cfg, err
	}
	return r.last, r.err
}

func (r *rules) policy() (policy.Policy, error) {
	cfg, err := r.now()
	return cfg.Policy, err
}

// Policy is the policy as it stands in the file.
func (p *Parts) Policy() (policy.Policy, error) { return p.rules.policy() }

// Serve is the [serve] table as it stands in the file.
func (p *Parts) Serve() (config.Serve, error) {
	cfg, err := p.rules.now()
	return cfg.Serve, err
}

// yesOrNo asks with prompt; nil if there is none.
func yesOrNo(prompt func(ctx context.Context, question string, echo bool) (string, error)) func(context.Context, string) (bool, error) {
	if prompt == nil {
		return nil
	}
	return func(ctx context.Context, question string) (bool, error) {
		answer, err := prompt(ctx, question+" [y/N]", true)
		answer = strings.ToLower(strings.TrimSpace(answer))
		return answer == "y" || answer == "yes", err
	}
}
