//go:build linux

package overlay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

func TestMain(m *testing.M) {
	if handled, code := Main(os.Args); handled {
		os.Exit(code)
	}
	if len(os.Args) > 4 && os.Args[1] == "forge" {
		os.Exit(forge(plea{Called: change.Path(os.Args[2]), Program: change.Path(os.Args[3]), Argv: os.Args[4:], Cwd: "/"}))
	}
	if len(os.Args) == 4 && os.Args[1] == "run" {
		os.Exit(runAlone(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 5 && os.Args[1] == "xattr" {
		os.Exit(setXattr(os.Args[2], os.Args[3], os.Args[4]))
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // for the processes of dry runs
	os.Exit(m.Run())
}

// acl is user::rw-, user:5:rw-, group::r--, mask::rw-, other::r-- as
// linux/posix_acl_xattr.h has it.
const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\x05\x00\x00\x00" +
	"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"

// setXattr makes the test binary a tool that scripts use, since setfattr and
// setfacl are on few hosts.
func setXattr(name, value, p string) int {
	var err error
	switch value {
	case "":
		err = unix.Lremovexattr(p, name)
	case "ACL":
		err = unix.Lsetxattr(p, name, []byte(acl), 0)
	default:
		err = unix.Lsetxattr(p, name, []byte(value), 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name, p, err)
		return 1
	}
	return 0
}

// contentsOf reads what a dry run left in its layer, by digest.
func contentsOf(t testing.TB, layer *os.File) map[string][]byte {
	t.Helper()
	names, err := os.ReadDir(layer.Name())
	if err != nil {
		t.Fatal(err)
	}
	blobs := map[string][]byte{}
	for _, n := range names {
		b, err := os.ReadFile(layer.Name() + "/" + n.Name())
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != n.Name() {
			t.Errorf("content %x is kept as %s", sum, n.Name())
		}
		blobs[n.Name()] = b
	}
	return blobs
}

// openDir opens a new directory.
func openDir(t testing.TB, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// dry is one dry run of a shell script, with what it printed.
type dry struct {
	Result
	out, errs bytes.Buffer
	layer     *os.File
	blobs     map[string][]byte // by digest
}

// request returns a request for a shell script as this account.
func request(t testing.TB, script string) (Request, *dry) {
	t.Helper()
	d := &dry{layer: openDir(t, t.TempDir())}
	mode := plan.Root
	if os.Geteuid() != 0 {
		mode = plan.User
	}
	return Request{
		Argv: []string{"/bin/sh", "-c", script}, Dir: "/",
		Env:    []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "GORACE=atexit_sleep_ms=0"},
		Stdout: &d.out, Stderr: &d.errs, Mode: mode, Scratch: t.TempDir(), Layer: d.layer, Timeout: 2 * time.Minute,
	}, d
}

func try(t testing.TB, script string, change ...func(*Request)) (*dry, error) {
	t.Helper()
	req, d := request(t, script)
	for _, f := range change {
		f(&req)
	}
	var err error
	d.Result, err = Run(t.Context(), req)
	if err == nil {
		d.blobs = contentsOf(t, d.layer)
	}
	return d, err
}

// must makes a dry run that has to work, and holds it to what every one promises.
func must(t testing.TB, script string, change ...func(*Request)) *dry {
	t.Helper()
	d, err := try(t, script, change...)
	if err != nil {
		t.Fatalf("dry run of %q: %v\nstderr: %s", script, err, d.errs.String())
	}
	unmounted(t)
	p := plan.Plan{Version: plan.Version, Session: "20261121-test-a3f2", Mode: plan.Root, Ops: d.Ops}
	if err := p.Valid(); err != nil {
		t.Errorf("plan of %q: %v", script, err)
	}
	for _, sum := range p.Blobs() {
		if _, ok := d.blobs[sum]; !ok {
			t.Errorf("content %s of the plan is not in the sink", sum)
		}
	}
	return d
}

// unmounted checks that no mount of a dry run is on the host. Others may mount
// while the test runs.
func unmounted(t testing.TB) {
	t.Helper()
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mounts, err := parseMounts(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if m.source == "bowline" || m.fstype == "overlay" && strings.Contains(m.point, "/root") {
			t.Errorf("%s (%s) is mounted on the host", m.point, m.fstype)
		}
	}
}

// summary is one line per operation.
func (d *dry) summary() string {
	var b strings.Builder
	for _, op := range d.Ops {
		if op.Command != nil {
			b.WriteString("run " + strings.Join(op.Command.Argv, " ") + "\n")
			continue
		}
		b.WriteString(string(op.Change.Kind()) + " " + string(op.Change.Path))
		if op.Change.Link != "" {
			b.WriteString(" = " + string(op.Change.Link))
		}
		if op.Change.InPlace {
			b.WriteString(" in place")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// runAlone makes the test binary a program that makes one dry run in the mode of
// its account and prints what is in the plan.
func runAlone(work, script string) int {
	mode := plan.Root
	if os.Geteuid() != 0 {
		mode = plan.User
	}
	var d dry
	err := errors.Join(os.Mkdir(work+"/scratch", 0o700), os.Mkdir(work+"/layer", 0o700))
	if err == nil {
		d.layer, err = os.Open(work + "/layer")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d.Result, err = Run(context.Background(), Request{
		Argv: []string{"/bin/sh", "-c", script}, Dir: "/", Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + os.Getenv("HOME")},
		Stdout: os.Stdout, Stderr: os.Stderr, Mode: mode, Scratch: work + "/scratch", Layer: d.layer, Volatile: volatileOf(os.Getenv("VOLATILE")),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	doc, err := json.Marshal(d.Result)
	if err == nil {
		err = os.WriteFile(work+"/result.json", doc, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Print(d.summary())
	for _, w := range append(d.Warnings, d.Labels...) {
		fmt.Println("note: " + w)
	}
	for _, op := range d.Ops {
		if c := op.Change; c != nil && c.Before.UID != uint32(os.Geteuid()) && !c.Before.Absent() {
			fmt.Printf("owner: %d\n", c.Before.UID)
		}
	}
	return d.Exit
}

func volatileOf(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Fields(list)
}

// forge tells the stage what no stub would.
func forge(p plea) int {
	conn, err := dial(sockPath)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var r ruling
	err = errors.Join(json.NewEncoder(conn).Encode(p), json.NewDecoder(conn).Decode(&r))
	fmt.Printf("%s%s%v\n", r.Answer.Stdout, r.Answer.Stderr, err)
	return r.Answer.Exit
}
