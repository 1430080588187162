package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/plan"
)

// site is a directory that a dry run captures (not below a volatile path), and a
// server whose account keeps its sessions in a home of its own.
func site(t *testing.T) (s *testkit.Server, home, dir string) {
	t.Helper()
	testkit.Root(t)
	home = testkit.Dir(t)
	dir, err := os.MkdirTemp("/srv", "bowline-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return testkit.SSHD(t, testkit.ConfigLines("SetEnv HOME="+home)), home, dir
}

// approved plans a script and approves it.
func approved(t *testing.T, c *bowline.Client, script string) bowline.Session {
	t.Helper()
	s, err := c.Plan(t.Context(), bowline.PlanRequest{Target: "t0", Script: []byte(script), File: "test.sh"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Approve(t.Context(), s.ID, s.Digest); err != nil {
		t.Fatal(err)
	}
	return s
}

func status(t *testing.T, c *bowline.Client, id string) plan.Status {
	t.Helper()
	s, err := c.Session(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s.Status
}

// slowCommand puts a program in place that the dry run defers, and that runs until
// the file it is told appears.
func slowCommand(t *testing.T) {
	t.Helper()
	const program = "/usr/local/bin/kubectl"
	text := "#!/bin/sh\necho waiting; while [ ! -e \"$1\" ]; do sleep 0.02; done; echo 'here it is'\n"
	f, err := os.OpenFile(program, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(program) })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSecondClientFollows: an apply goes on when its client leaves, and whoever
// resumes meanwhile sees all of it and gets its result.
func TestSecondClientFollows(t *testing.T) {
	s, _, dir := site(t)
	slowCommand(t)
	c := open(t, s)
	release := filepath.Join(testkit.Dir(t), "go")
	x := approved(t, c, fmt.Sprintf("echo a > %s/a; kubectl %s; echo b > %s/b", dir, release, dir))

	ctx, leave := context.WithCancel(t.Context())
	_, err := c.Apply(ctx, x.ID, bowline.ApplyOptions{Progress: func(p bowline.Progress) {
		if strings.Contains(p.Text, "waiting") {
			leave()
		}
	}})
	if k := diag.KindOf(err); k != diag.Canceled && k != diag.Lost {
		t.Fatalf("leaving = %v", err)
	}
	if got := status(t, c, x.ID); got != plan.Applying {
		t.Errorf("after leaving the session is %s", got)
	}
	if _, err := c.Rollback(t.Context(), x.ID, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Conflict {
		t.Errorf("rollback of a running apply = %v", err)
	}
	var seen strings.Builder
	res, err := c.Resume(t.Context(), x.ID, bowline.ApplyOptions{Progress: func(p bowline.Progress) {
		fmt.Fprintln(&seen, p.What, p.Text)
		if strings.Contains(p.Text, "waiting") {
			if err := os.WriteFile(release, nil, 0o600); err != nil {
				t.Error(err)
			}
		}
	}})
	if err != nil || res.Status != plan.Executed || res.Done != 3 {
		t.Fatalf("resume = %+v, %v", res, err)
	}
	for _, want := range []string{dir + "/a", "run kubectl", "waiting", "here it is", dir + "/b"} {
		if !strings.Contains(seen.String(), want) {
			t.Errorf("the follower did not see %q in:\n%s", want, seen.String())
		}
	}
	if got := status(t, c, x.ID); got != plan.Executed {
		t.Errorf("in the end the session is %s", got)
	}
	whole, err := c.Session(t.Context(), x.ID)
	if err != nil || len(whole.Commands) != 1 || string(whole.Commands[0].Stdout) != "waiting\nhere it is\n" {
		t.Errorf("kept of the command: %+v, %v", whole.Commands, err)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestApprovalOutlivesWhatDidNotBegin: a host that does not answer and one that
// changed leave the approval good.
func TestApprovalOutlivesWhatDidNotBegin(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	file := filepath.Join(dir, "f")
	x := approved(t, c, "echo a > "+file)

	s.Stop(t)
	if _, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Unreachable {
		t.Errorf("apply on a host that is down = %v", err)
	}
	if got := status(t, c, x.ID); got != plan.Approved {
		t.Errorf("afterwards the session is %s", got)
	}
	s.Start(t)
	if err := os.WriteFile(file, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Conflict {
		t.Errorf("apply on a host that changed = %v", err)
	}
	if got := status(t, c, x.ID); got != plan.Approved {
		t.Errorf("after a conflict the session is %s", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if res, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{}); err != nil || res.Status != plan.Executed {
		t.Errorf("apply = %+v, %v", res, err)
	}
	if _, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Denied {
		t.Errorf("the approval worked twice: %v", err)
	}
}

// TestPruneDeletesOnTheTargetFirst and keeps here what it could not delete there.
func TestPruneDeletesOnTheTargetFirst(t *testing.T) {
	s, home, dir := site(t)
	c := open(t, s)
	kept := func() []string {
		entries, err := os.ReadDir(filepath.Join(home, ".local/share/bowline/sessions"))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			if e.IsDir() {
				names = append(names, e.Name())
			}
		}
		return names
	}
	gone := approved(t, c, "echo a > "+dir+"/gone")
	if err := c.Reject(t.Context(), gone.ID, "no"); err != nil {
		t.Fatal(err)
	}
	stays := approved(t, c, "echo a > "+dir+"/stays")
	if _, err := c.Apply(t.Context(), stays.ID, bowline.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	s.Stop(t)
	ids, err := c.PruneSessions(t.Context(), bowline.PruneOptions{Before: later})
	if len(ids) != 0 || diag.KindOf(err) != diag.Unreachable || !strings.Contains(diag.HintOf(err), "--forget") {
		t.Errorf("prune without the host = %v, %v", ids, err)
	}
	s.Start(t)
	if got := kept(); len(got) != 2 {
		t.Fatalf("on the target: %v", got)
	}
	ids, err = c.PruneSessions(t.Context(), bowline.PruneOptions{Before: later})
	if err != nil || len(ids) != 1 || ids[0] != gone.ID {
		t.Errorf("prune = %v, %v", ids, err)
	}
	if got := kept(); len(got) != 1 || got[0] != stays.ID {
		t.Errorf("on the target: %v", got)
	}
	if _, err := c.Rollback(t.Context(), stays.ID, bowline.ApplyOptions{}); err != nil {
		t.Errorf("what was applied can no longer be taken back: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "stays")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestLaterSessionGoesFirst: what a later session rests on is not taken back under it.
func TestLaterSessionGoesFirst(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("first\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	apply := func(script string) bowline.Session {
		x := approved(t, c, script)
		if _, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		return x
	}
	a := apply("echo a > " + file + "; mkdir " + dir + "/d")
	b := apply("echo b > " + file)
	below := apply("echo x > " + dir + "/d/x")
	apply("echo other > " + dir + "/other")

	_, err := c.Rollback(t.Context(), a.ID, bowline.ApplyOptions{})
	hint := diag.HintOf(err)
	if diag.KindOf(err) != diag.Conflict || !strings.Contains(err.Error(), b.ID) || !strings.Contains(err.Error(), below.ID) ||
		strings.Index(hint, below.ID) > strings.Index(hint, b.ID) || !strings.HasSuffix(hint, "'bowline rollback "+a.ID+"'") {
		t.Fatalf("rollback of the first = %v\n%s", err, hint)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "b\n" {
		t.Errorf("it touched something: %q, %v", got, err)
	}
	for _, x := range []bowline.Session{below, b, a} {
		if _, err := c.Rollback(t.Context(), x.ID, bowline.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "first\n" {
		t.Errorf("in the end %q, %v", got, err)
	}
}

func TestDrift(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	file := filepath.Join(dir, "f")
	x := approved(t, c, "echo a > "+file)
	if _, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	d, err := c.Drift(t.Context(), x.ID)
	if err != nil || len(d.Changes) != 0 || d.Status != plan.Executed {
		t.Fatalf("at first %+v, %v", d, err)
	}
	if err := os.WriteFile(file, []byte("theirs\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err = c.Drift(t.Context(), x.ID)
	if err != nil || len(d.Changes) != 1 {
		t.Fatalf("after a change %+v, %v", d, err)
	}
	got := d.Changes[0]
	if string(got.Path) != file || got.Why != "content" || string(d.Contents[got.Before.SHA256]) != "a\n" || string(d.Contents[got.After.SHA256]) != "theirs\n" {
		t.Errorf("%+v, %v", got, d.Contents)
	}
}

// TestSignedApprovals: a target that demands signatures has them set up as any change,
// and from then on applies what an allowed key signed, and nothing else.
func TestSignedApprovals(t *testing.T) {
	s, _, dir := site(t)
	if _, err := os.Lstat("/etc/bowline"); err == nil {
		t.Fatal("/etc/bowline exists on this machine; this test would change it")
	}
	t.Cleanup(func() { os.RemoveAll("/etc/bowline") })
	keys := testkit.Dir(t)
	inAgent := testkit.NewKey(t, keys+"/agent", "ed25519")
	inFile := testkit.NewKey(t, keys+"/file", "ecdsa")
	sealed := testkit.EncryptedKey(t, keys+"/sealed", "open sesame")
	testkit.NewKey(t, keys+"/stranger", "ed25519")
	agent := testkit.Agent(t, keys+"/agent")
	var signers strings.Builder
	for _, k := range []ssh.PublicKey{inAgent, inFile, sealed} {
		fmt.Fprintf(&signers, "ann@example.com namespaces=\"bowline-approval\" %s", ssh.MarshalAuthorizedKey(k))
	}
	plain := open(t, s)
	setUp, err := plain.RequireSignature(t.Context(), bowline.SignatureRequest{Target: "t0", Signers: signers.String()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Approve(t.Context(), setUp.ID, setUp.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Apply(t.Context(), setUp.ID, bowline.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		name, table, socket string
		allowed             bool
	}{
		{"nobody signs", "", "", false},
		{"agent", "sign = true", agent.Socket, true},
		{"file", "sign = true\nkey_file = \"" + keys + "/file\"", "", true},
		{"encrypted file", "require_signature = true\nkey_file = \"" + keys + "/sealed\"", "", true},
		{"public half, private one in the agent", "sign = true\nkey_file = \"" + keys + "/agent.pub\"", agent.Socket, true},
		{"stranger", "sign = true\nkey_file = \"" + keys + "/stranger\"", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := openWith(t, "[approval]\n"+tt.table+"\n", s)
			t.Setenv("SSH_AUTH_SOCK", tt.socket)
			file := fmt.Sprintf("%s/%d", dir, i)
			x := approved(t, c, "echo signed > "+file)
			res, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{})
			if !tt.allowed {
				if diag.KindOf(err) != diag.Denied || !strings.Contains(err.Error(), "applies only what was signed") {
					t.Errorf("apply = %+v, %v", res, err)
				}
				if _, err := os.Stat(file); err == nil {
					t.Error("it was applied all the same")
				}
				return
			}
			if err != nil || res.Status != plan.Executed {
				t.Fatalf("apply = %+v, %v", res, err)
			}
			receipt, err := c.ExportSession(t.Context(), x.ID)
			if err != nil {
				t.Fatal(err)
			}
			r, err := bowline.VerifyReceipt(receipt, signers.String())
			if err != nil || !r.OK || !strings.Contains(fmt.Sprint(r.Findings), "signed by ann@example.com") {
				t.Errorf("receipt: %+v, %v", r, err)
			}
			stranger, err := os.ReadFile(keys + "/stranger.pub")
			if err != nil {
				t.Fatal(err)
			}
			if r, err := bowline.VerifyReceipt(receipt, "eve "+string(stranger)); err != nil || r.OK {
				t.Errorf("receipt held to other signers: %+v, %v", r, err)
			}
			if _, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Denied {
				t.Errorf("the signature worked twice: %v", err)
			}
		})
	}
}

// TestTwoPersons: whoever asked cannot approve.
func TestTwoPersons(t *testing.T) {
	s, _, dir := site(t)
	c := openWith(t, "[approval]\ntwo_person = true\n", s)
	x, err := c.Plan(t.Context(), bowline.PlanRequest{Target: "t0", Argv: []string{"touch", dir + "/x"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Approve(t.Context(), x.ID, x.Digest); diag.KindOf(err) != diag.Denied || !strings.Contains(err.Error(), "two_person") {
		t.Errorf("own approval = %v", err)
	}
	if got := status(t, c, x.ID); got != plan.Pending {
		t.Errorf("it is %s", got)
	}
	if err := c.Reject(t.Context(), x.ID, "no"); err != nil {
		t.Errorf("one may reject one's own: %v", err)
	}
}
