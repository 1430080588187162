package scale

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// size is the number of targets: the whole takes minutes.
func size() int {
	if os.Getenv("BOWLINE_SCALE") == "full" {
		return 300
	}
	return 24
}

// trouble kills servers in turn, and PostgreSQL between them.
func (w *world) trouble(n int) {
	s := w.servers[n%len(w.servers)]
	s.kill()
	switch n % 3 {
	case 1:
		w.pg.Restart("fast")
	case 2:
		w.pg.Restart("immediate")
	default:
		time.Sleep(300 * time.Millisecond) // dead for so long
	}
	s.start()
}

// TestFrontDoor: three servers run, plan and apply on all targets while they are killed
// and PostgreSQL restarts. Every host ends in exactly one state, nothing runs twice, no
// approval is used twice, and every audit log holds.
func TestFrontDoor(t *testing.T) {
	w := newWorld(t, size(), 3)
	c, reviewer := w.client("ann", "read,run,plan,apply"), w.client("rita", "read,approve")
	began := time.Now()
	lap := func(what string, o operation) {
		t.Logf("%s: %s %v in %.1f s", what, o.State, o.Counts, time.Since(began).Seconds())
		began = time.Now()
	}

	o := c.await(c.submit("run", doc{"verb": "run", "selector": "all", "run": doc{"argv": []string{"sh", "-c", "echo begun > " + w.site + "/pipe; sleep 0.3; echo ended > " + w.site + "/pipe"}}}).ID, w.trouble)
	lap("run", o)
	w.ran(o)

	sessions := w.plan(c, lap)
	w.approve(reviewer, sessions, lap)

	// Two who both want it applied: each session is applied once.
	first := c.submit("apply", doc{"verb": "apply", "sessions": w.ids(sessions)})
	second := c.submit("apply too", doc{"verb": "apply", "sessions": w.ids(sessions)[:len(w.hosts)/4]})
	o = c.await(first.ID, w.trouble)
	lap("apply", o)
	w.applied(c, o, sessions)
	lap("apply again", c.await(second.ID, nil))
	third := c.await(c.submit("apply later", doc{"verb": "apply", "sessions": w.ids(sessions)}).ID, nil)
	lap("apply later", third)
	if third.Counts["failed"] != len(w.hosts) {
		t.Errorf("an approval was used again: %v", third.Counts)
	}
	w.marked()
	t.Logf("%d requests went to another server", c.moved+reviewer.moved)
	w.logsHold()
	lap("audit", operation{})
}

// ran checks that each target ran the command once, or was broken off in it.
func (w *world) ran(o operation) {
	w.t.Helper()
	if len(o.Tasks) != len(w.hosts) {
		w.t.Fatalf("%d tasks for %d targets", len(o.Tasks), len(w.hosts))
	}
	for _, x := range o.Tasks {
		i := slices.IndexFunc(w.hosts, func(h *host) bool { return h.name == x.Target })
		n := w.marks(w.hosts[i])
		switch {
		case n["begun"] > 1 || n["ended"] > 1:
			w.t.Errorf("%s ran it %v times", x.Target, n)
		case x.State == "succeeded" && n["ended"] != 1:
			w.t.Errorf("%s says that it succeeded, and ran it %v times", x.Target, n)
		case x.State == "failed" && n["begun"] > 0:
			w.t.Errorf("%s says that it failed, and ran it %v times: %s", x.Target, n, x.Error)
		case x.State != "succeeded" && x.State != "unknown":
			w.t.Errorf("%s is %s: %s", x.Target, x.State, x.Error)
		}
	}
}

// plan plans on all targets, anew where a server died, and returns the sessions by target.
func (w *world) plan(c *client, lap func(string, operation)) map[string]string {
	w.t.Helper()
	// The homes differ here, and would make a class of each.
	script := fmt.Sprintf("#!/bin/sh\ncd /; unset HOME\necho a >> %[1]s/mark\necho more=1 >> %[1]s/app.conf\n%[2]s %[1]s/ran\necho b >> %[1]s/last\n", w.site, w.command)
	sessions := map[string]string{}
	selector, trouble := "all", w.trouble
	for try := 1; len(sessions) < len(w.hosts); try++ {
		if try > 5 {
			w.t.Fatal("planning does not succeed")
		}
		o := c.await(c.submit(fmt.Sprintf("plan %d", try), doc{"verb": "plan", "selector": selector, "plan": doc{"script": script, "name": "scale"}}).ID, trouble)
		lap(fmt.Sprintf("plan %d", try), o)
		var again []string
		for _, x := range o.Tasks {
			switch x.State {
			case "succeeded":
				sessions[x.Target] = x.Session
			case "failed":
				again = append(again, x.Target)
			default:
				w.t.Errorf("%s: a plan is %s: %s", x.Target, x.State, x.Error)
			}
		}
		selector, trouble = strings.Join(again, ","), nil
	}
	for _, h := range w.hosts {
		if n := w.lines(h, "mark"); len(n) > 0 {
			w.t.Errorf("%s: planning left %v", h.name, n)
		}
	}
	return sessions
}

func (w *world) ids(sessions map[string]string) []string {
	var ids []string
	for _, h := range w.hosts {
		ids = append(ids, sessions[h.name])
	}
	return ids
}

// session is what the test reads of one.
type session struct {
	ID        string `json:"id"`
	Status    string `json:"status"`
	Digest    string `json:"digest"`
	Fleet     string `json:"fleet"`
	Class     string `json:"class"`
	Decisions []struct {
		ID     string `json:"id"`
		Reject bool   `json:"reject"`
	} `json:"decisions"`
}

func (c *client) session(id string) session {
	c.w.t.Helper()
	var s session
	if status := c.do("GET", "/sessions/"+id, "", nil, &s); status != http.StatusOK {
		c.w.t.Fatalf("%s: %d", id, status)
	}
	return s
}

// approve approves class by class, and what is left session by session, while a server
// dies.
func (w *world) approve(c *client, sessions map[string]string, lap func(string, operation)) {
	w.t.Helper()
	fleets := map[string]bool{}
	for _, id := range sessions {
		if s := c.session(id); s.Fleet != "" {
			fleets[s.Fleet] = true
		}
	}
	var troubled sync.WaitGroup
	for fleet := range fleets {
		var f struct {
			Classes []struct {
				ID, Effect string
				Targets    []string
			}
		}
		if status := c.do("GET", "/fleets/"+fleet, "", nil, &f); status != http.StatusOK {
			w.t.Fatalf("fleet: %d", status)
		}
		for i, k := range f.Classes {
			if i < 2 {
				troubled.Go(func() { w.trouble(3 * i) })
			}
			var m doc
			status := c.do("POST", "/fleets/"+k.ID+"/approve", "", doc{"effect": k.Effect}, &m)
			troubled.Wait()
			w.t.Logf("class %s of %d targets: %d %.300v", k.ID, len(k.Targets), status, m["ok"])
		}
	}
	var answer doc
	for name, id := range sessions {
		s := c.session(id)
		for s.Status == "pending" {
			c.do("POST", "/sessions/"+id+"/approve", "", doc{"digest": s.Digest}, &answer)
			s = c.session(id)
		}
		if s.Status != "approved" || len(s.Decisions) != 1 {
			w.t.Errorf("%s: %s is %s with %d decisions", name, id, s.Status, len(s.Decisions))
		}
	}
	lap("approve", operation{})
}

// applied checks that all was applied.
func (w *world) applied(c *client, o operation, sessions map[string]string) {
	w.t.Helper()
	for _, x := range o.Tasks {
		if x.State != "succeeded" && !(x.State == "failed" && x.Kind == "denied") { // the other one got it
			w.t.Errorf("%s: %s after %d attempts: %s: %s", x.Target, x.State, x.Attempt, x.Kind, x.Error)
		}
	}
	for name, id := range sessions {
		if s := c.session(id); s.Status != "executed" || len(s.Decisions) != 1 {
			w.t.Errorf("%s: %s is %s with %d decisions", name, id, s.Status, len(s.Decisions))
		}
	}
}

// marked checks what the applies left.
func (w *world) marked() {
	w.t.Helper()
	for i, h := range w.hosts {
		for name, want := range map[string]string{"mark": "map[a:1]", "last": "map[b:1]", "ran": "map[begun:1 ended:1]", "app.conf": fmt.Sprintf("map[limit=%d:1 more=1:1]", i%3/2)} {
			if got := fmt.Sprint(w.lines(h, name)); got != want {
				w.t.Errorf("%s: %s holds %s, not %s", h.name, name, got, want)
			}
		}
	}
}

// logsHold verifies all audit logs from each server's machine.
func (w *world) logsHold() {
	w.t.Helper()
	for i := range w.servers {
		w.t.Log(w.bowline(i, "audit", "verify", "--all"))
		w.bowline(i, "audit", "verify")
	}
	var report struct {
		OK      bool
		Targets []struct {
			Target              string
			Holds, Against, Bad int
			Unknown             []string
		}
	}
	if err := json.Unmarshal([]byte(w.bowline(0, "audit", "verify", "--all", "-t", "all", "--json")), &report); err != nil {
		w.t.Fatal(err)
	}
	heads := 0
	for _, x := range report.Targets {
		if heads += x.Holds; x.Holds < 2 || x.Against+x.Bad+len(x.Unknown) > 0 {
			w.t.Errorf("%+v", x)
		}
	}
	w.t.Logf("%d heads on %d targets", heads, len(report.Targets))
	if !report.OK || len(report.Targets) != len(w.hosts) {
		w.t.Errorf("%d targets bear witness, %v", len(report.Targets), report.OK)
	}
}
