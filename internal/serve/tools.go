package serve

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/api"
	"github.com/bowline-sh/bowline/internal/login"
	"github.com/bowline-sh/bowline/internal/mcp"
)

// maxTools bounds the MCP servers that are kept, one a token.
const maxTools = 256

// tools answers MCP: each token has a server of its own, so that outputs and sessions of
// the protocol are no other's.
type tools struct {
	ctx context.Context
	cfg Config

	mu  sync.Mutex // guards all
	all map[string]*tool
}

// tool is the MCP server of a token, which ends with stop.
type tool struct {
	http.Handler
	stop context.CancelFunc
}

func newTools(ctx context.Context, cfg Config) *tools {
	return &tools{ctx: ctx, cfg: cfg, all: map[string]*tool{}}
}

func (t *tools) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, err := t.of(login.From(r.Context()))
	if err != nil {
		api.WriteProblem(w, r, err)
		return
	}
	h.ServeHTTP(w, r)
}

// of returns the server of a token, making it if there is none. Where there are too many
// any other one goes: its clients begin anew.
func (t *tools) of(v login.Visitor) (http.Handler, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.all[v.ID]; h != nil {
		return h, nil
	}
	ctx, stop := context.WithCancel(t.ctx)
	s, err := mcp.New(ctx, mcp.Config{Client: t.cfg.Client, Version: t.cfg.Version, Selector: v.Targets, Profiles: v.Profiles,
		// Names are not unique, and sessions belong to whoever has the name.
		Name: "token " + v.ID + " " + v.Name, Who: v.Caller(bowline.SurfaceMCP, ""), Logger: slog.New(louder{t.cfg.Logger.Handler()})})
	if err != nil {
		stop()
		return nil, err
	}
	for id, old := range t.all {
		if len(t.all) < maxTools {
			break
		}
		old.stop()
		delete(t.all, id)
	}
	made := &tool{s.Open(), stop}
	t.all[v.ID] = made
	go t.watch(ctx, v.ID, made)
	return made, nil
}

// watch ends a token's server, with what it runs in the background, when the token ends.
func (t *tools) watch(ctx context.Context, id string, mine *tool) {
	tick := time.NewTicker(login.Recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := t.cfg.Client.StillValid(ctx, id); diag.KindOf(err) != diag.Denied {
			continue
		}
		mine.stop()
		t.mu.Lock()
		if t.all[id] == mine {
			delete(t.all, id)
		}
		t.mu.Unlock()
		return
	}
}

// louder hides what is below a warning: the protocol's own library tells of every session.
type louder struct{ slog.Handler }

func (l louder) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && l.Handler.Enabled(ctx, level)
}

func (l louder) WithAttrs(a []slog.Attr) slog.Handler { return louder{l.Handler.WithAttrs(a)} }
func (l louder) WithGroup(name string) slog.Handler   { return louder{l.Handler.WithGroup(name)} }
