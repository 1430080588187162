package load

import (
	"context"
	"log/slog"
	"net"
	"os"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/serve"
)

// serveHere is serve inside the test's own process, whose processor profile goes to a
// file: 'BOWLINE_LOAD_PROFILE=cpu.out go test ./test/load'. The program itself has no
// door for that.
func (w *world) serveHere(file string) {
	w.t.Helper()
	dirs := map[string]string{}
	for _, kv := range w.env {
		name, value, _ := strings.Cut(kv, "=")
		dirs[name] = value + "/bowline"
	}
	c, err := bowline.Open(w.t.Context(), bowline.Config{ConfigDir: dirs["XDG_CONFIG_HOME"], StateDir: dirs["XDG_STATE_HOME"], RuntimeDir: dirs["XDG_RUNTIME_DIR"], Surface: "api"})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(w.t.Context()))
	s, err := serve.New(ctx, serve.Config{Client: c, Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := os.Create(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, 5*time.Second) }()
	w.url, w.pid = "http://"+l.Addr().String(), os.Getpid()
	w.t.Cleanup(func() {
		pprof.StopCPUProfile()
		stop()
		for _, err := range []error{<-ended, out.Close(), c.Close()} {
			if err != nil {
				w.t.Error(err)
			}
		}
	})
}
