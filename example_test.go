package bowline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

// open returns a client whose files are all in a directory of its own.
func open() (c *bowline.Client, done func()) {
	dir, err := os.MkdirTemp("", "bowline-example")
	if err != nil {
		panic(err)
	}
	c, err = bowline.Open(context.Background(), bowline.Config{ConfigDir: filepath.Join(dir, "config"), StateDir: filepath.Join(dir, "state"), RuntimeDir: dir})
	if err != nil {
		panic(err)
	}
	return c, func() {
		if err := errors.Join(c.Close(), os.RemoveAll(dir)); err != nil {
			panic(err)
		}
	}
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "bowline-example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	// The zero Config uses the places of docs/design.md.
	c, err := bowline.Open(context.Background(), bowline.Config{ConfigDir: dir, StateDir: dir, RuntimeDir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Close())
	// Output: <nil>
}

func ExampleClient_Run() {
	c, done := open()
	defer done()
	res, err := c.Run(context.Background(), bowline.RunRequest{Target: bowline.LocalTarget, Profile: "script", Argv: []string{"sh", "-c", "echo hello; exit 3"}})
	fmt.Printf("%q %d %v\n", res.Stdout, res.ExitCode, err)

	// What the profile does not allow is an error: nothing ran.
	_, err = c.Run(context.Background(), bowline.RunRequest{Target: bowline.LocalTarget, Argv: []string{"rm", "-rf", "/"}})
	fmt.Println(diag.KindOf(err), err)
	// Output:
	// "hello\n" 3 <nil>
	// refused run: "rm" is not permitted by profile readonly
}

func ExampleClient_Targets() {
	c, done := open()
	defer done()
	list, err := c.Targets(context.Background(), "")
	for _, t := range list {
		fmt.Println(t.Name, t.Kind, t.Default)
	}
	fmt.Println(err)
	// Output:
	// local local true
	// <nil>
}

func ExampleClient_AddTarget() {
	c, done := open()
	defer done()
	t := target.Target{Name: "web1", Kind: target.SSH, Host: "127.0.0.1", Port: 1, User: "deploy"}
	// The fingerprint comes from the host's administrator. Without one, the
	// last argument would ask a person.
	const fingerprint = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
	_, err := c.AddTarget(context.Background(), t, fingerprint, nil)
	fmt.Println(diag.KindOf(err)) // nobody listens on port 1
	// Output: unreachable
}

func ExampleClient_TestTarget() {
	c, done := open()
	defer done()
	report, err := c.TestTarget(context.Background(), bowline.LocalTarget, false)
	for _, check := range report.Checks {
		fmt.Println(check.Name, check.OK)
	}
	fmt.Println(err)
	// Output:
	// connect true
	// login true
	// kernel true
	// bubblewrap true
	// sandbox true
	// <nil>
}

func ExampleClient_TrustTarget() {
	c, done := open()
	defer done()
	_, err := c.TrustTarget(context.Background(), "web1", "", nil)
	fmt.Println(diag.KindOf(err), err)
	// Output: usage trust web1: there is no target "web1"
}

func ExampleClient_Profiles() {
	c, done := open()
	defer done()
	list, err := c.Profiles(context.Background())
	for _, p := range list {
		fmt.Println(p.Profile.Name, p.Origin)
	}
	fmt.Println(err)
	// Output:
	// diagnostics built-in
	// minimal built-in
	// readonly built-in
	// script built-in
	// systemd built-in
	// <nil>
}

func ExampleClient_Audit() {
	c, done := open()
	defer done()
	ctx := context.Background()
	if _, err := c.Run(ctx, bowline.RunRequest{Target: bowline.LocalTarget, Argv: []string{"echo", "--password=hunter2"}}); err != nil {
		fmt.Println(err)
	}
	for e, err := range c.Audit(ctx, bowline.AuditQuery{OldestFirst: true}) {
		fmt.Printf("%d %s %s %v %q %v\n", e.Seq, e.Event, e.Verb, e.Argv, e.Status, err)
	}
	report, err := c.VerifyAudit(ctx)
	fmt.Println(report.OK, report.Entries, err)
	// Output:
	// 1 intent run [echo --password=***] "" <nil>
	// 2 outcome run [] "ok" <nil>
	// true 2 <nil>
}

func ExampleClient_ExplainProfile() {
	c, done := open()
	defer done()
	ex, err := c.ExplainProfile(context.Background(), "readonly", []string{"/usr/bin/../bin/sh"})
	fmt.Println(ex.Allowed, ex.Reason, err)
	// Output: false "/usr/bin/../bin/sh" is not a plain absolute path <nil>
}

// The full circle on this machine: see it, approve exactly that, apply it, take it back.
func ExampleClient_Plan() {
	c, done := open()
	defer done()
	ctx := context.Background()
	home, err := os.UserHomeDir()
	if err != nil {
		panic(err)
	}
	s, err := c.Plan(ctx, bowline.PlanRequest{Target: bowline.LocalTarget, Script: []byte("echo hello > greeting\n"), Argv: nil, File: "greet.sh", Note: "say hello"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(filepath.Join(home, "greeting"))
	for _, op := range s.Plan.Ops {
		fmt.Println(op.Change.Kind(), filepath.Base(string(op.Change.Path)))
	}
	_, err = c.Apply(ctx, s.ID, bowline.ApplyOptions{})
	fmt.Println(diag.KindOf(err))

	// An approval names the digest of what was read.
	if _, err := c.Approve(ctx, s.ID, s.Digest); err != nil {
		fmt.Println(err)
		return
	}
	res, err := c.Apply(ctx, s.ID, bowline.ApplyOptions{})
	fmt.Println(res.Status, err)
	drift, err := c.Drift(ctx, s.ID)
	fmt.Println(len(drift.Changes), err)
	res, err = c.Rollback(ctx, s.ID, bowline.ApplyOptions{})
	fmt.Println(res.Status, err)

	// A receipt is checked with nothing but its bytes.
	file, err := c.ExportSession(ctx, s.ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := bowline.VerifyReceipt(file, "")
	fmt.Println(r.OK, r.Status, err)

	gone, err := c.PruneSessions(ctx, bowline.PruneOptions{Before: time.Now().Add(time.Hour)})
	fmt.Println(len(gone), err)
	// Output:
	// create greeting
	// denied
	// executed <nil>
	// 0 <nil>
	// rolled_back <nil>
	// true rolled_back <nil>
	// 1 <nil>
}

func ExampleClient_CreateKey() {
	c, done := open()
	defer done()
	ctx := context.Background()
	key, err := c.CreateKey(ctx, "deploy", false)
	fmt.Println(filepath.Base(key.File), key.Type, len(key.Fingerprint), err)
	_, err = c.CreateKey(ctx, "deploy", false)
	fmt.Println(diag.KindOf(err)) // an existing key is never replaced
	// Output:
	// deploy ed25519 50 <nil>
	// usage
}

func ExampleClient_RotateKeys() {
	c, done := open()
	defer done()
	report, err := c.RotateKeys(context.Background(), []string{bowline.LocalTarget}, bowline.KeyRotation{}, bowline.FleetOptions{}, func(r bowline.RotatedKey) {
		fmt.Println(r.Target, r.Class, r.Err)
	})
	fmt.Println(report.OK(), err)
	// Output:
	// local error rotate the key of local: a target of type local has no SSH key
	// false <nil>
}

func ExampleClient_ImportConfig() {
	c, done := open()
	defer done()
	ctx := context.Background()
	res, err := c.ImportConfig(ctx, bowline.ImportRequest{Data: []byte("vms:\n  vm01: {ip: 10.0.0.11, ssh_user: ops, password: hunter2}\n")})
	for _, n := range res.Notes {
		if n.Key == "vms.vm01.password" {
			fmt.Println(n.Line, n.Key, n.Text)
		}
	}
	fmt.Println(res.System, res.Stored, err)
	list, err := c.Targets(ctx, "")
	fmt.Println(list[0].Name, list[0].Host, list[0].User, err)
	// Output:
	// 2 vms.vm01.password is not imported: secrets do not belong in the configuration; use a key, ssh-agent, or password = true to be asked
	// remote-executor 1 <nil>
	// vm01 10.0.0.11 ops <nil>
}

// The same on many targets: read each class once, approve it once, apply it in waves.
func ExampleClient_PlanFleet() {
	c, done := open()
	defer done()
	ctx := context.Background()
	home, err := os.UserHomeDir()
	if err != nil {
		panic(err)
	}
	defer os.Remove(filepath.Join(home, "greeting"))
	targets := []string{bowline.LocalTarget} // or the names of c.Targets(ctx, "env=prod")
	req := bowline.PlanRequest{Script: []byte("echo hello > greeting\n"), File: "greet.sh"}
	fleet, report, err := c.PlanFleet(ctx, targets, req, bowline.FleetOptions{}, bowline.FleetWatch{})
	if err != nil || !report.OK() {
		fmt.Println(report.Classes, err)
		return
	}
	for _, class := range fleet.Classes {
		fmt.Println(len(class.Example.Plan.Ops), "operation on", class.Targets())
		// One approval for each session, of its own digest.
		results, err := c.ApproveFleet(ctx, class.ID, class.Effect)
		for _, r := range results {
			fmt.Println(r.Class, r.Err)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	// A failure ends it after its wave; the same call goes on later.
	report, err = c.ApplyFleet(ctx, fleet.ID, bowline.ApplyOptions{}, bowline.FleetOptions{Waves: "1,10%,100%"}, bowline.FleetWatch{
		Ended: func(r bowline.MemberResult) { fmt.Println(r.Session.Target, r.Result.Status, r.Err) },
	})
	fmt.Println(report.OK(), err)
	report, err = c.RollbackFleet(ctx, fleet.ID, bowline.ApplyOptions{}, bowline.FleetOptions{}, bowline.FleetWatch{})
	fmt.Println(report.OK(), err)

	gone, err := c.PruneSessions(ctx, bowline.PruneOptions{Before: time.Now().Add(time.Hour)})
	fmt.Println(len(gone), err)
	// Output:
	// 1 operation on [local]
	// ok <nil>
	// local executed <nil>
	// true <nil>
	// true <nil>
	// 1 <nil>
}

// One command on many targets; each ends in one class.
func ExampleClient_RunFleet() {
	c, done := open()
	defer done()
	targets := []string{bowline.LocalTarget} // or the names of c.Targets(ctx, "env=prod")
	req := bowline.RunRequest{Argv: []string{"echo", "hello"}}
	report, err := c.RunFleet(context.Background(), targets, req, bowline.FleetOptions{Waves: "1,10%,100%", MaxFailures: "5%"}, func(string) {}, func(r bowline.FleetResult) {
		fmt.Printf("%s %s %q\n", r.Target, r.Class, r.Stdout)
	})
	fmt.Println(report.OK(), err)
	// Output:
	// local ok "hello\n"
	// true <nil>
}

// A file to a target: hashed on both sides, put in place by rename.
func ExampleClient_Copy() {
	c, done := open()
	defer done()
	dir, err := os.MkdirTemp("", "bowline-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "app.conf"), []byte("workers=4\n"), 0o644); err != nil {
		panic(err)
	}
	res, err := c.Copy(context.Background(), bowline.CopyRequest{
		Sources: []bowline.CopyLocation{{Path: filepath.Join(dir, "app.conf")}},
		Dest:    bowline.CopyLocation{Target: bowline.LocalTarget, Path: filepath.Join(dir, "copy.conf")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Files[0].Status, res.Bytes)
	// Output: verified 10
}

// Links that the background process keeps open; none without it.
func ExampleClient_Links() {
	c, done := open()
	defer done()
	links, pid, err := c.Links(context.Background())
	fmt.Println(len(links), pid, err)
	// Output: 0 0 <nil>
}
