package audit

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/redact"
)

func TestBeginEnd(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state", "audit")
	l := open(t, testConfig(dir))
	id, err := l.Begin(t.Context(), Intent{
		Subject: Subject{Verb: "run", Target: "web1", Profile: "readonly"},
		Argv:    []string{"psql", "--password=hunter2", "-c", "select 'topsecret'"},
		Cwd:     "/srv", Env: map[string]string{"DB_PASSWORD": "topsecret", "LANG": "C"},
	})
	if err != nil || id != "id1" {
		t.Fatalf("Begin = %q, %v", id, err)
	}
	attempt := Note{ID: id, Subject: Subject{Verb: "connect", Attempt: 2, Address: "10.0.0.1:22"}}
	if err := l.Note(t.Context(), attempt); err != nil {
		t.Fatal(err)
	}
	code := 3
	err = l.End(t.Context(), id, Outcome{
		Subject: Subject{HostKey: "SHA256:abc", Login: "deploy", Digests: map[string]string{"after": "sha256:1"}},
		Status:  Failed, ExitCode: &code, Duration: 1500 * time.Millisecond, StdoutBytes: 5,
		Err: errors.New("line\n\x1b[2J says topsecret"),
	})
	if err != nil {
		t.Fatal(err)
	}
	actor := Actor{User: "ann", Host: "laptop", PID: 7, Surface: "cli"}
	want := []Entry{
		{Version: 1, Seq: 1, ID: "id1", Event: EventIntent, Verb: "run", Actor: actor, Target: "web1", Profile: "readonly",
			Argv: []string{"psql", "--password=***", "-c", "select '***'"}, Cwd: "/srv", Env: []string{"DB_PASSWORD", "LANG"}},
		{Version: 1, Seq: 2, ID: "id1", Event: EventNote, Verb: "connect", Actor: actor, Target: "web1", Profile: "readonly",
			Address: "10.0.0.1:22", Attempt: 2},
		{Version: 1, Seq: 3, ID: "id1", Event: EventOutcome, Verb: "run", Actor: actor, Target: "web1", Profile: "readonly",
			Login: "deploy", HostKey: "SHA256:abc", Digests: map[string]string{"after": "sha256:1"},
			Result: &Result{Status: Failed, Kind: diag.Failure, ExitCode: &code, DurationMS: 1500, StdoutBytes: 5, Error: `line\n\x1b[2J says ***`}},
	}
	got := entries(t, dir, Filter{OldestFirst: true})
	ignore := cmpopts.IgnoreFields(Entry{}, "Time", "Prev", "Hash")
	if diff := cmp.Diff(want, got, ignore, cmpopts.IgnoreUnexported(Entry{})); diff != "" {
		t.Error(diff)
	}
	if got[0].Prev != zeroHash || got[1].Prev != got[0].Hash || !got[1].Time.After(got[0].Time) || got[0].Time.Location() != time.UTC {
		t.Errorf("not a chain in time: %+v", got)
	}
	wantMode(t, dir, fs.ModeDir|0o700)
	for _, name := range []string{activeName, headName, lockName} {
		wantMode(t, filepath.Join(dir, name), 0o600)
	}
	if r := wantOK(t, dir, 3); r.Ahead != 0 || r.HeadSeq != 3 {
		t.Errorf("head is at %d, %d behind; want it at the last entry", r.HeadSeq, r.Ahead)
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != want {
		t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, want)
	}
}

func TestStatusFollowsError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want Status
	}{
		{nil, OK},
		{errors.New("x"), Error},
		{diag.New(diag.Refused, "", "", "x"), Refused},
		{diag.New(diag.Denied, "", "", "x"), Refused},
		{diag.New(diag.Lost, "", "", "x"), Error},
	} {
		if got := (Outcome{Err: tt.err}).entry("id", nil).Result.Status; got != tt.want {
			t.Errorf("status of %v = %q, want %q", tt.err, got, tt.want)
		}
	}
}

// Values declared secret by the caller are masked whatever their names are, in
// all entries of the operation.
func TestDeclaredSecrets(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, testConfig(dir))
	id, err := l.Begin(t.Context(), Intent{Argv: []string{"login", "xyzzy42"}, Text: "as xyzzy42", Cwd: "/xyzzy42",
		Env: map[string]string{"HARMLESS": "xyzzy42"}, SecretEnv: []string{"HARMLESS", "ABSENT"}})
	if err == nil {
		err = errors.Join(l.Note(t.Context(), Note{ID: id, Text: "xyzzy42"}), l.End(t.Context(), id, Outcome{Err: errors.New("xyzzy42")}))
	}
	if raw := read(t, filepath.Join(dir, activeName)); err != nil || bytes.Contains(raw, []byte("xyzzy42")) || !bytes.Contains(raw, []byte("HARMLESS")) {
		t.Errorf("%v, log: %s", err, raw)
	}
	wantOK(t, dir, 3)
}

// Whatever is in a field, an entry is one line without characters that a
// terminal obeys, and is read back as it was.
func TestHostileFieldsCannotForge(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, testConfig(dir))
	evil := "a\n{\"v\":1,\"seq\":9}\r\n\x00\x1b[2J\u009b\u202e\u2028\x7f\U000e0041\",\"hash\":\"" + zeroHash + "\"}\n"
	in := Intent{
		Subject: Subject{Verb: evil, Target: evil, Login: evil, Address: evil, Profile: evil, HostKey: evil, KeyID: evil,
			Session: evil, Digests: map[string]string{evil: evil}, Actor: &Actor{User: evil, Client: evil}},
		ID: evil, Argv: []string{evil, evil}, Cwd: evil, Env: map[string]string{evil: evil}, Text: evil,
	}
	if _, err := l.Begin(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	raw := read(t, filepath.Join(dir, activeName))
	if n := bytes.Count(raw, []byte("\n")); n != 1 || strings.ContainsFunc(string(raw[:len(raw)-1]), redact.Hostile) {
		t.Errorf("%d lines, want one without hostile characters: %q", n, raw)
	}
	e := entries(t, dir, Filter{})[0]
	if e.Seq != 1 || e.Verb != evil || e.Argv[1] != evil || e.Actor.User != evil || e.Digests[evil] != evil {
		t.Errorf("fields do not come back: %+v", e)
	}
	wantOK(t, dir, 1)
}

func TestLongFieldsAreBounded(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, testConfig(dir))
	huge := strings.Repeat("\x1b", 3<<20)
	in := Intent{
		Subject: Subject{Verb: huge, Target: huge, Login: huge, HostKey: huge, Actor: &Actor{User: huge}, Digests: map[string]string{huge: huge}},
		ID:      huge, Cwd: huge, Text: huge, Env: map[string]string{},
	}
	for i := range 9000 {
		in.Argv = append(in.Argv, huge[:20])
		in.Env[huge[:i]] = ""
		in.Digests[huge[:i]] = huge[:300]
	}
	in.Argv[0] = huge
	id, err := l.Begin(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.End(t.Context(), id, Outcome{Err: errors.New(huge)}); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 2)
	wantOK(t, dir, 4)
	e := entries(t, dir, Filter{OldestFirst: true})[0]
	if want := digestOf((*redact.Redactor)(nil).Argv(in.Argv)); e.Digests["argv"] != want {
		t.Errorf("digest of the whole argv = %q, want %q", e.Digests["argv"], want)
	}
}

// The original system began again at 1 after a line of 4096 bytes.
func TestSeqSurvivesLongLines(t *testing.T) {
	t.Parallel()
	cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
	for i, size := range []int{10, 4095, 4096, 5000, 70_000, 200_000, 10} {
		l := open(t, cfg) // a new tail each time
		argv := []string{}
		for range size/4000 + 1 {
			argv = append(argv, strings.Repeat("x", min(size, 4000)))
		}
		if _, err := l.Begin(t.Context(), Intent{Argv: argv}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wantOK(t, cfg.Dir, uint64(i+1))
	}
}

func TestConcurrentGoroutines(t *testing.T) {
	t.Parallel()
	cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
	cfg.NewID, cfg.Now, cfg.MaxSize = nil, nil, 20_000
	a, b := open(t, cfg), open(t, cfg)
	var wg sync.WaitGroup
	for i := range 8 {
		l := []*Log{a, b}[i%2]
		wg.Go(func() { fill(t, l, 20) })
	}
	wg.Wait()
	if r := wantOK(t, cfg.Dir, 160); r.Segments < 2 || r.Healed != 0 {
		t.Errorf("%d segments, %d repairs; want a rotation and no repair", r.Segments, r.Healed)
	}
	ids := map[string]int{}
	for _, e := range entries(t, cfg.Dir, Filter{}) {
		ids[e.ID]++
	}
	if len(ids) != 80 {
		t.Errorf("%d operations, want 80", len(ids))
	}
}

func TestTornLineIsHealedAndTold(t *testing.T) {
	t.Parallel()
	for _, torn := range []string{"x", `{"v":1,"seq":5,"argv":["--password=hunter2"`, strings.Repeat("y", 5000)} {
		dir := newLog(t, 4, 0)
		path := filepath.Join(dir, activeName)
		put(t, path, append(read(t, path), torn...))
		if r := wantOK(t, dir, 4); r.Torn != len(torn) || len(r.Notes) != 1 {
			t.Errorf("Verify tells of %d torn bytes, want %d", r.Torn, len(torn))
		}
		l := open(t, testConfig(dir)) // heals
		r := wantOK(t, dir, 5)
		if r.Torn != 0 || r.Healed != 1 {
			t.Errorf("after Open: %+v, want one repair and nothing torn", r)
		}
		e := entries(t, dir, Filter{Limit: 1})[0]
		if e.Digests["torn"] != "sha256:"+hashOf([]byte(torn)) || strings.Contains(e.Text, "hunter2") {
			t.Errorf("note about the repair: %+v", e)
		}
		fill(t, l, 2)
		wantOK(t, dir, 7)
	}
}

// An entry that is cut short and has been acknowledged is tampering, which a
// writer must not paint over.
func TestTornAcknowledgedEntryIsNotHealed(t *testing.T) {
	t.Parallel()
	dir := newLog(t, 4, 0)
	path := filepath.Join(dir, activeName)
	bad := read(t, path)
	bad = bad[:len(bad)-10]
	put(t, path, bad)
	_, err := Open(t.Context(), testConfig(dir))
	if !errors.Is(err, ErrTampered) || diag.KindOf(err) != diag.Denied || !strings.Contains(diag.HintOf(err), "bowline audit verify") {
		t.Errorf("Open = %v (hint %q), want it denied as tampered", err, diag.HintOf(err))
	}
	if !bytes.Equal(read(t, path), bad) {
		t.Error("Open changed the evidence")
	}
}

func TestHeadBehindIsHealedAndTold(t *testing.T) {
	t.Parallel()
	for _, behind := range []int{1, 2, 7} {
		cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
		cfg.MaxSize = 1500
		l := open(t, cfg)
		fill(t, l, 4)
		old := read(t, filepath.Join(cfg.Dir, headName))
		fill(t, l, behind)
		l.Close()
		put(t, filepath.Join(cfg.Dir, headName), old)
		if r := wantOK(t, cfg.Dir, uint64(4+behind)); r.Ahead != uint64(behind) || len(r.Notes) != 1 {
			t.Errorf("Verify: %d ahead, notes %q; want %d and a note", r.Ahead, r.Notes, behind)
		}
		open(t, cfg)
		if r := wantOK(t, cfg.Dir, uint64(5+behind)); r.Ahead != 0 || r.Healed != 1 {
			t.Errorf("after Open: %+v, want one repair", r)
		}
	}
}

// A head that is behind another log is not healed.
func TestForeignLogIsRefused(t *testing.T) {
	t.Parallel()
	a, b := newLog(t, 2, 0), newLog(t, 4, 0)
	cfg := testConfig(filepath.Join(t.TempDir(), "c"))
	l := open(t, cfg)
	if err := l.Note(t.Context(), Note{Text: "other"}); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 4)
	l.Close()
	put(t, filepath.Join(cfg.Dir, headName), read(t, filepath.Join(a, headName)))
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrTampered) {
		t.Errorf("Open with the head of another log = %v", err)
	}
	put(t, filepath.Join(b, headName), read(t, filepath.Join(a, headName))) // a prefix of b: behind
	if _, err := Open(t.Context(), testConfig(b)); err != nil {
		t.Errorf("Open with an older head of the same log = %v", err)
	}
}

func TestRotationCutShort(t *testing.T) {
	t.Parallel()
	dir := newLog(t, 4, 0)
	if err := os.Rename(filepath.Join(dir, activeName), filepath.Join(dir, segmentName(1))); err != nil {
		t.Fatal(err)
	}
	wantOK(t, dir, 4)
	fill(t, open(t, testConfig(dir)), 2)
	if r := wantOK(t, dir, 6); r.Segments != 2 {
		t.Errorf("%d segments, want 2", r.Segments)
	}
}

func TestHeadFileElsewhere(t *testing.T) {
	t.Parallel()
	cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
	cfg.HeadFile = filepath.Join(t.TempDir(), "anchor")
	l := open(t, cfg)
	fill(t, l, 4)
	l.Close()
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(cfg.Dir, cfg.HeadFile).Verify(t.Context())
	if err != nil || r.OK || r.Problem.Kind != Truncated || r.Problem.Seq != 1 {
		t.Errorf("Verify of a removed log = %v, %v", r.Problem, err)
	}
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrTampered) {
		t.Errorf("Open of a removed log = %v", err)
	}
}

func TestHeadRemovedWhileOpen(t *testing.T) {
	t.Parallel()
	cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
	l := open(t, cfg)
	fill(t, l, 2)
	remove(t, cfg.Dir, headName)
	if _, err := l.Begin(t.Context(), Intent{}); !errors.Is(err, ErrTampered) {
		t.Errorf("Begin without a head = %v", err)
	}
}

func TestCanceledAndClosed(t *testing.T) {
	t.Parallel()
	cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
	l := open(t, cfg)
	id, err := l.Begin(t.Context(), Intent{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Begin(ctx, Intent{}); !errors.Is(err, context.Canceled) || diag.KindOf(err) != diag.Canceled {
		t.Errorf("Begin with a canceled context = %v", err)
	}
	if err := l.End(ctx, id, Outcome{}); err != nil {
		t.Errorf("End with a canceled context = %v, want the outcome recorded", err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := l.Begin(t.Context(), Intent{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Begin after Close = %v", err)
	}
	wantOK(t, cfg.Dir, 2)
}

// One writer that gives up must not take the others with it.
func TestCanceledLeader(t *testing.T) {
	t.Parallel()
	cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
	l := open(t, cfg)
	release := holdLock(t, cfg.Dir)
	ctx, cancel := context.WithCancel(t.Context())
	leader, other := make(chan error, 1), make(chan error, 1)
	go func() { _, err := l.Begin(ctx, Intent{}); leader <- err }()
	for len(l.turn) == 0 { // until it leads, and waits for the lock
		runtime.Gosched()
	}
	go func() { _, err := l.Begin(t.Context(), Intent{}); other <- err }()
	cancel()
	if err := <-leader; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled leader: %v", err)
	}
	release()
	if err := <-other; err != nil {
		t.Errorf("the other writer: %v", err)
	}
	wantOK(t, cfg.Dir, 1)
}

// The same when the other writer's entry is in the batch already.
func TestCanceledLeaderReturnsItsBatch(t *testing.T) {
	t.Parallel()
	cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
	l := open(t, cfg)
	own, other := &request{done: make(chan error, 1)}, &request{done: make(chan error, 1)}
	if err := errors.Join(l.enqueue(own), l.enqueue(other)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.lead(ctx, own)
	if err := <-own.done; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled leader: %v", err)
	}
	l.lead(t.Context(), other)
	if err := <-other.done; err != nil {
		t.Errorf("the other writer: %v", err)
	}
	wantOK(t, cfg.Dir, 1)
}
