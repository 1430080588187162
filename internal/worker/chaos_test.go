//go:build unix

package worker_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/store/postgres"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/work"
	"github.com/bowline-sh/bowline/internal/worker"
)

// TestMain is also the process that the tests start and kill.
func TestMain(m *testing.M) {
	if dsn := os.Getenv("BOWLINE_TEST_WORKER"); dsn != "" {
		serve(dsn, os.Getenv("BOWLINE_TEST_TARGETS"))
		return
	}
	os.Exit(m.Run())
}

const (
	beat      = 200 * time.Millisecond
	deadAfter = 2 * time.Second
)

func serve(dsn, dir string) {
	ctx := context.Background()
	for {
		s, err := postgres.Open(ctx, dsn)
		if err != nil {
			time.Sleep(beat) // the database is away
			continue
		}
		s.Listen(ctx)
		err = worker.Serve(ctx, worker.Config{Store: s, Queue: s, Runner: targets{dir}, Now: time.Now, Workers: 6, Beat: beat, DeadAfter: deadAfter,
			Note: func(n string) { fmt.Fprintln(os.Stderr, os.Getpid(), n) }})
		fmt.Fprintln(os.Stderr, os.Getpid(), "served:", err)
		s.Close()
	}
}

// targets are files that stand for targets. A run or plan leaves its mark there each time
// it is done. An apply has steps, each a line, and a lock, as the real one has a journal
// and a lock on its target.
type targets struct{ dir string }

const steps = 5

func (r targets) Do(ctx context.Context, op work.Operation, t work.Task, say worker.Say) work.Outcome {
	if t.Verb.Exclusive() {
		return r.Resume(ctx, op, t, say)
	}
	f, err := os.OpenFile(filepath.Join(r.dir, t.Target), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return work.Outcome{State: work.Failed, Error: err.Error()}
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s\n", t.ID); err != nil {
		return work.Outcome{State: work.Failed, Error: err.Error()}
	}
	say("stdout", []byte("half"))
	time.Sleep(time.Duration(50+rand.IntN(300)) * time.Millisecond)
	return work.Outcome{State: work.Succeeded, Output: []byte("out")}
}

func (r targets) Resume(_ context.Context, _ work.Operation, t work.Task, _ worker.Say) work.Outcome {
	f, err := os.OpenFile(filepath.Join(r.dir, t.Target+".apply"), os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return work.Outcome{State: work.Failed, Error: err.Error()}
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return work.Outcome{State: work.Failed, Error: err.Error()}
	}
	for n := range steps {
		journal, err := os.ReadFile(f.Name())
		if err != nil {
			return work.Outcome{State: work.Failed, Error: err.Error()}
		}
		line := fmt.Sprintf("%s %d\n", t.ID, n+1)
		if bytes.Contains(journal, []byte(line)) {
			continue
		}
		if _, err := f.WriteString(line); err != nil {
			return work.Outcome{State: work.Failed, Error: err.Error()}
		}
		time.Sleep(time.Duration(10+rand.IntN(60)) * time.Millisecond)
	}
	return work.Outcome{State: work.Succeeded}
}

// herd is some processes that are killed and started.
type herd struct {
	t    *testing.T
	env  []string
	log  *os.File
	all  []*exec.Cmd
	died int
}

func (h *herd) start() *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), h.env...)
	cmd.Stdout, cmd.Stderr = h.log, h.log
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	return cmd
}

func (h *herd) kill(i int) {
	_ = h.all[i].Process.Kill() // kill -9; it may have ended
	_ = h.all[i].Wait()
	h.died++
}

// TestChaos: processes are killed and the database restarts while tasks are under way.
func TestChaos(t *testing.T) {
	tasks, hosts, kills := 120, 40, 6
	if os.Getenv("BOWLINE_SCALE") == "full" {
		tasks, hosts, kills = 900, 300, 40
	}
	pg := testkit.StartPostgres(t)
	dsn, dir := pg.NewDatabase("chaos"), t.TempDir()
	s, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	h := &herd{t: t, log: log, env: []string{"BOWLINE_TEST_WORKER=" + dsn, "BOWLINE_TEST_TARGETS=" + dir}}
	defer func() {
		for i := range h.all {
			h.kill(i)
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s", text[:min(len(text), 20000)])
		}
	}()
	for range 3 {
		h.all = append(h.all, h.start())
	}
	var ids []string
	for i, v := range []work.Verb{work.Run, work.Plan, work.Apply} {
		ids = append(ids, submit(t, s, fmt.Sprintf("01OP%d", i), v, tasks/3, hosts))
	}
	harm(t, h, pg, kills)
	began := time.Now()
	for _, id := range ids {
		for o := operation(t, s, id); !o.State.Over(); o = operation(t, s, id) {
			if time.Since(began) > 90*time.Second {
				list, _ := s.Tasks(t.Context(), id, false)
				for _, x := range list {
					if !x.State.Over() {
						t.Logf("%+v", x)
					}
				}
				t.Fatalf("operation %s does not end: %v", id, o.Counts)
			}
			time.Sleep(beat)
		}
	}
	t.Logf("%d processes killed; all over %s after the last harm", h.died, time.Since(began).Round(time.Millisecond))
	for _, id := range ids {
		check(t, s, dir, id)
	}
}

func operation(t *testing.T, s work.Store, id string) work.Operation {
	t.Helper()
	o, err := s.Operation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func submit(t *testing.T, s work.Store, id string, v work.Verb, n, hosts int) string {
	t.Helper()
	list := make([]work.Task, n)
	for i := range list {
		list[i] = work.Task{ID: fmt.Sprintf("%s-%d", id, i+1), Number: i + 1, Target: "host" + strconv.Itoa(i%hosts)}
	}
	if _, err := s.Submit(t.Context(), work.Operation{ID: id, Verb: v, Request: []byte("{}"), Created: time.Now()}, list); err != nil {
		t.Fatal(err)
	}
	return id
}

// harm kills processes at random moments, and the database in each way between.
func harm(t *testing.T, h *herd, pg *testkit.Postgres, kills int) {
	ways := []func(){func() { pg.Restart("fast") }, func() { pg.Restart("immediate") }, func() { pg.Kill(); pg.Start() }}
	for n := range kills {
		time.Sleep(time.Duration(200+rand.IntN(500)) * time.Millisecond)
		i := rand.IntN(len(h.all))
		var both sync.WaitGroup
		if n%2 == 1 {
			both.Go(ways[n/2%len(ways)])
		}
		h.kill(i)
		both.Wait()
		h.all[i] = h.start()
	}
}

// check holds what the store says against what the targets say.
func check(t *testing.T, s work.Store, dir, id string) {
	t.Helper()
	list, err := s.Tasks(t.Context(), id, true)
	if err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(t.Context(), id, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[string]int{}
	for i, e := range events {
		if e.Seq != int64(i+1) {
			t.Errorf("%s: event %d has number %d", id, i+1, e.Seq)
		}
		if e.Kind == "state" && e.State.Over() {
			ends[e.Task]++
		}
	}
	n := map[work.State]int{}
	for _, x := range list {
		n[x.State]++
		if ends[x.ID] != 1 || !x.State.Over() {
			t.Errorf("task %s is %s and ended %d times", x.ID, x.State, ends[x.ID])
		}
		if x.Verb.Exclusive() {
			checkSteps(t, dir, x)
			continue
		}
		marks := strings.Count(read(t, filepath.Join(dir, x.Target)), x.ID+"\n")
		if marks > 1 || x.State == work.Succeeded && (marks != 1 || string(x.Output) != "out") {
			t.Errorf("task %s is %s and was done %d times", x.ID, x.State, marks)
		}
		if want := map[work.Verb]work.State{work.Run: work.Unknown, work.Plan: work.Failed}[x.Verb]; x.State != work.Succeeded && (x.State != want || x.Error == "") {
			t.Errorf("task %s is %s: %s", x.ID, x.State, x.Error)
		}
	}
	t.Logf("%s: %v, %d events", id, n, len(events))
}

func checkSteps(t *testing.T, dir string, x work.Task) {
	t.Helper()
	text := read(t, filepath.Join(dir, x.Target+".apply"))
	for n := range steps {
		if c := strings.Count(text, fmt.Sprintf("%s %d\n", x.ID, n+1)); c != 1 || x.State != work.Succeeded {
			t.Errorf("apply %s is %s, and its step %d was done %d times", x.ID, x.State, n+1, c)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}
