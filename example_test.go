package bowline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
