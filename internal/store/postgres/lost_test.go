//go:build unix

package postgres_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/work"
	"github.com/bowline-sh/bowline/plan"
)

// deaf stands between a client and the server. When it is armed it loses the answer to the
// next change that the server has made, with the connection.
type deaf struct {
	armed atomic.Bool
	lost  atomic.Int32
}

// listen returns dsn with the address of a listener that leads to its server.
func (d *deaf) listen(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	to := u.Host
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(c, to)
		}
	}()
	u.Host = l.Addr().String()
	return u.String()
}

func (d *deaf) serve(c net.Conn, to string) {
	defer c.Close()
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		io.Copy(s, c) //nolint:errcheck // either end may go
		s.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := s.Read(buf)
		if err != nil {
			return
		}
		if committed(buf[:n]) && d.armed.CompareAndSwap(true, false) {
			d.lost.Add(1)
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// committed: the server says that it is idle, which is in no transaction, and that it
// changed rows or ended one.
func committed(p []byte) bool {
	if !bytes.Contains(p, []byte("Z\x00\x00\x00\x05I")) {
		return false
	}
	for _, tag := range []string{"COMMIT\x00", "commit\x00", "INSERT 0 1\x00", "UPDATE 1\x00", "DELETE 1\x00"} {
		if bytes.Contains(p, []byte(tag)) {
			return true
		}
	}
	return false
}

// lostAnswers: the answer to each kind of change is lost after the server made it. The
// call succeeds all the same, and the change was made once.
func lostAnswers(t *testing.T, pg *testkit.Postgres) {
	var d deaf
	dsn := pg.NewDatabase("lost")
	s := open(t, d.listen(t, dsn))
	ctx, now := t.Context(), time.Now()
	id := "20261121-fix-a3f2"
	op := work.Operation{ID: "01A", Verb: work.Run, Request: []byte("{}"), Created: now, Key: "k", KeyHash: []byte{1}}
	tasks := []work.Task{{ID: "01A-1", Number: 1, Target: "web1"}, {ID: "01A-2", Number: 2, Target: "web2"}}
	var a, b work.Task
	chain := store.Chain{ID: "c", Key: []byte{1}}
	for _, x := range []struct {
		name string
		do   func() error
	}{
		{"Create", func() error {
			return s.Create(ctx, store.Session{ID: id, Status: plan.Pending, Plan: []byte("{}"), Created: now})
		}},
		{"Decide", func() error { return s.Decide(ctx, plan.Approval{ID: "d", Session: id, Created: now}) }},
		{"Move", func() error { return s.Move(ctx, id, plan.Pending, plan.Approved, store.Update{Now: now}) }},
		{"Note", func() error { return s.Note(ctx, id, store.Update{Message: "m"}) }},
		{"Delete", func() error { return s.Delete(ctx, id, plan.Approved) }},
		{"CreateToken", func() error { return s.CreateToken(ctx, store.Token{ID: "t", Hash: []byte{1}, Created: now}) }},
		{"RevokeToken", func() error { return s.RevokeToken(ctx, "t", now) }},
		{"Join", func() error { return s.Join(ctx, work.Process{ID: "p1", PID: 1, Started: now}) }},
		{"Join p2", func() error { return s.Join(ctx, work.Process{ID: "p2", PID: 1, Started: now}) }},
		{"Beat", func() error { return s.Beat(ctx, "p1", 1) }},
		{"Submit", func() error { _, err := s.Submit(ctx, op, tasks); return err }},
		{"Claim", func() (err error) {
			a, err = s.Claim(ctx, "01A-1", "p1", work.Limits{PerTarget: 1}, now)
			return err
		}},
		{"Emit", func() error {
			return s.Emit(ctx, "01A", []work.Event{{Time: now, Task: "01A-1", Kind: "stdout", Data: []byte("x")}})
		}},
		{"Finish", func() error { return s.Finish(ctx, a, work.Outcome{State: work.Succeeded}, now) }},
		{"Claim of p1", func() (err error) {
			b, err = s.Claim(ctx, "01A-2", "p1", work.Limits{PerTarget: 1}, now)
			return err
		}},
		{"Leave", func() error { return s.Leave(ctx, "p1") }},
		{"Adopt", func() (err error) { b, err = s.Adopt(ctx, b, "p2", now); return err }},
		{"Finish of p2", func() error { return s.Finish(ctx, b, work.Outcome{State: work.Succeeded}, now) }},
		{"AddChain", func() error { return s.AddChain(ctx, chain) }},
		{"AddLines", func() error { return s.AddLines(ctx, "c", []store.AuditLine{{Seq: 1, Line: []byte("x")}}) }},
		{"AddStatement", func() error {
			return s.AddStatement(ctx, store.Statement{Signer: "c", N: 1, Chain: "c", Time: now, Signature: []byte{1}})
		}},
	} {
		before := d.lost.Load()
		d.armed.Store(true)
		if err := x.do(); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
		if d.lost.Load() != before+1 || d.armed.Load() {
			t.Errorf("%s: no answer was lost", x.name)
		}
	}
	d.armed.Store(false)
	events, err := s.Events(ctx, "01A", 0, 100)
	seen := ""
	for _, e := range events {
		seen += fmt.Sprintf("%s:%s:%s ", e.Task, e.Kind, e.State)
	}
	const want = "01A-1:state:running :state:running 01A-1:stdout: 01A-1:state:succeeded 01A-2:state:running 01A-2:state:succeeded :state:succeeded "
	if err != nil || seen != want {
		t.Errorf("events: %s, %v", seen, err)
	}
	if b.Attempt != 2 {
		t.Errorf("%d attempts", b.Attempt)
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var jobs int
	if err := conn.QueryRow(ctx, `SELECT count(*) FROM river_job`).Scan(&jobs); err != nil || jobs != 2 {
		t.Errorf("%d offers for 2 tasks, %v", jobs, err)
	}
}

// offersThatAreGone: a task is offered anew when the process that it was offered to, or
// that fetched it, is not alive, or does not get to it.
func offersThatAreGone(t *testing.T, pg *testkit.Postgres) {
	dsn := pg.NewDatabase("offers")
	s := open(t, dsn)
	ctx, now := t.Context(), time.Now()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	exec := func(q string) {
		t.Helper()
		if _, err := conn.Exec(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	submit := func(target string) {
		t.Helper()
		n++
		id := fmt.Sprintf("01A%d", n)
		if _, err := s.Submit(ctx, work.Operation{ID: id, Verb: work.Run, Request: []byte("{}"), Created: now}, []work.Task{{ID: id + "-1", Number: 1, Target: target}}); err != nil {
			t.Fatal(err)
		}
	}
	offered := func(what string, at time.Time, want int) {
		t.Helper()
		if got, err := s.Reoffer(ctx, at); err != nil || got != want {
			t.Errorf("%s: %d offered anew, %v; want %d", what, got, err, want)
		}
	}
	for _, p := range []string{"p1", "p2"} {
		if err := s.Join(ctx, work.Process{ID: p, Started: now}); err != nil {
			t.Fatal(err)
		}
	}
	submit("web0")
	offered("to all", now.Add(time.Hour), 0)
	exec(`UPDATE river_job SET state = 'running', attempted_by = '{p2}'`)
	offered("fetched by the living", now, 0)
	exec(`UPDATE river_job SET attempted_by = '{p2,dead}'`)
	offered("fetched by the dead", now, 1)
	offered("offered anew", now, 0)
	exec(`DELETE FROM river_job`)
	offered("gone", now, 1)
	if err := s.Warm(ctx, "web1", "p1", now); err != nil {
		t.Fatal(err)
	}
	submit("web1")
	var queue string
	if err := conn.QueryRow(ctx, `SELECT queue FROM river_job ORDER BY id DESC LIMIT 1`).Scan(&queue); err != nil || queue != "p_p1" {
		t.Errorf("the task was put in queue %q, %v", queue, err)
	}
	offered("to the living", now.Add(time.Second), 0)
	offered("not got to", now.Add(4*time.Second), 1)
	submit("web1")
	if err := s.Leave(ctx, "p1"); err != nil {
		t.Fatal(err)
	}
	offered("to the dead", now, 1)
	offered("to the dead, again", now, 0)
	submit("web1")
	if err := conn.QueryRow(ctx, `SELECT queue FROM river_job ORDER BY id DESC LIMIT 1`).Scan(&queue); err != nil || queue != "default" {
		t.Errorf("the task was put in queue %q, %v", queue, err)
	}
}
