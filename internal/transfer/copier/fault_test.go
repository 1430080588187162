package copier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transfer"
	"github.com/bowline-sh/bowline/internal/transfer/copier"
)

// cut kills the sshd that serves the copy once n bytes have gone.
func (w *world) cut(r copier.Request, n int64) error {
	var once atomic.Bool
	r.Progress = func(p copier.Progress) {
		if p.Bytes >= n && once.CompareAndSwap(false, true) {
			w.server.SignalSessions(w.t, syscall.SIGKILL)
		}
	}
	_, err := w.Copy(w.t.Context(), r)
	return err
}

// resume copies again until nobody is left of the transfer that was cut.
func (w *world) resume(r copier.Request) copier.Result {
	w.t.Helper()
	r.Resume = true
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		w.moved.Store(0)
		res, err := w.Copy(w.t.Context(), r)
		if err == nil {
			return res
		}
		// Busy until sshd has noticed; and on a busy machine the connection after the
		// one that was killed has been seen to be reset, too.
		busy := strings.Contains(err.Error(), transfer.ErrBusy.Error())
		if !busy {
			w.t.Logf("again: %v", err)
		}
		if !busy && diag.KindOf(err) != diag.Lost || time.Now().After(deadline) {
			w.t.Fatalf("resume: %v", err)
		}
	}
}

// TestResumeAfterCut: R57 and resuming; the link is cut at 20 random points of an
// upload and of a download, with and without a helper; at 5 where nobody asks for
// the full campaign.
func TestResumeAfterCut(t *testing.T) {
	const size = 12 << 20
	w := newWorld(t)
	data := noise(size, 7)
	src := filepath.Join(w.here, "src")
	write(t, src, data)
	rng := rand.New(rand.NewPCG(1, 2))
	points := 5
	if full() {
		points = 20
	}
	for i := range points {
		at := rng.Int64N(size - 2<<20)
		for _, way := range ways {
			up, down := fmt.Sprintf("%s/up-%s%d", w.far, way, i), fmt.Sprintf("%s/down-%s%d", w.here, way, i)
			t.Run(fmt.Sprintf("%s up at %d", way, at), func(t *testing.T) { w.cutAndResume(t, req(src, way+":"+up), up, data, at) })
			t.Run(fmt.Sprintf("%s down at %d", way, at), func(t *testing.T) { w.cutAndResume(t, req(way+":"+src, down), down, data, at) })
		}
	}
}

// besides bounds what it takes besides content to go on: the helper may have to
// be looked for, lists and digests.
const besides = 256 << 10

func (w *world) cutAndResume(t *testing.T, r copier.Request, file string, data []byte, at int64) {
	w.t = t
	write(t, file, []byte("old"))
	r.Resume = true
	if err := w.cut(r, at); err == nil {
		t.Fatal("the cut went unnoticed")
	} else if k := diag.KindOf(err); k != diag.Lost && k != diag.Failure {
		t.Errorf("kind %q: %v", k, err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "old" {
		t.Fatalf("the existing file did not survive: %d bytes, %v", len(got), err)
	}
	res := w.resume(r)
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	// What was in flight and a chunk may be lost; the rest is not sent again.
	reused := res.Files[0].Reused
	if reused < at-8<<20 {
		t.Errorf("cut at %d, but only %d bytes were reused", at, reused)
	}
	if moved, missing := w.moved.Load(), int64(len(data))-reused; moved > missing+missing/50+besides {
		t.Errorf("%d bytes were missing, but %d were moved", missing, moved)
	}
	noTemps(t, filepath.Dir(file))
	must(t, os.Remove(file))
}

// TestCutLeavesNothing: without --resume the far side cleans up after a cut.
func TestCutLeavesNothing(t *testing.T) {
	w := newWorld(t)
	src := filepath.Join(w.here, "src")
	write(t, src, noise(16<<20, 1))
	write(t, filepath.Join(w.far, "dst"), []byte("old"))
	if err := w.cut(req(src, "web1:"+w.far+"/dst"), 4<<20); err == nil {
		t.Fatal("the cut went unnoticed")
	}
	for deadline := time.Now().Add(10 * time.Second); len(temps(t, w.far)) > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	noTemps(t, w.far)
	if got, _ := os.ReadFile(filepath.Join(w.far, "dst")); string(got) != "old" {
		t.Errorf("the existing file holds %q", got)
	}
}

// TestStoppedDownload: R57; what was here stays, and nothing else is left.
func TestStoppedDownload(t *testing.T) {
	for _, way := range ways {
		for _, old := range []string{"", "old"} {
			t.Run(fmt.Sprintf("%s %q", way, old), func(t *testing.T) {
				w := newWorld(t)
				write(t, filepath.Join(w.far, "src"), noise(32<<20, 1))
				dst := filepath.Join(w.here, "dst")
				if old != "" {
					write(t, dst, []byte(old))
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := req(way+":"+w.far+"/src", dst)
				r.Progress = func(p copier.Progress) {
					if p.Bytes > 8<<20 {
						cancel()
					}
				}
				if _, err := w.Copy(ctx, r); diag.KindOf(err) != diag.Canceled {
					t.Errorf("%v", err)
				}
				got, err := os.ReadFile(dst)
				if string(got) != old || (err == nil) != (old != "") {
					t.Errorf("%q, %v", got, err)
				}
				noTemps(t, w.here)
			})
		}
	}
}

// TestStop: a person's Ctrl-C, and the deadline, leave nothing without --resume
// and a temporary with it.
func TestStop(t *testing.T) {
	for _, way := range ways {
		for _, resume := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s resume=%v", way, resume), func(t *testing.T) {
				w := newWorld(t)
				src := filepath.Join(w.here, "src")
				write(t, src, noise(32<<20, 1))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := req(src, way+":"+w.far+"/dst")
				r.Resume = resume
				r.Progress = func(p copier.Progress) {
					if p.Bytes > 8<<20 {
						cancel()
					}
				}
				_, err := w.Copy(ctx, r)
				if diag.KindOf(err) != diag.Canceled || !errors.Is(err, context.Canceled) {
					t.Errorf("%v", err)
				}
				if n := len(temps(t, w.far)); (n == 1) != resume {
					t.Errorf("%d temporaries are left", n)
				}
				if _, err := os.Stat(w.far + "/dst"); err == nil {
					t.Error("dst exists")
				}
			})
		}
	}
	w := newWorld(t)
	write(t, filepath.Join(w.here, "src"), noise(256<<20, 1))
	r := req(filepath.Join(w.here, "src"), "web1:"+w.far+"/dst")
	r.Timeout = 400 * time.Millisecond
	if _, err := w.Copy(t.Context(), r); diag.KindOf(err) != diag.Timeout {
		t.Errorf("deadline: %v", err)
	}
	noTemps(t, w.far)
}

// TestDiskFull: a file system that cannot take it.
func TestDiskFull(t *testing.T) {
	testkit.Root(t)
	small, err := os.MkdirTemp("/mnt", "bowline-test-")
	must(t, err)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := errors.Join(syscall.Unmount(small, 0), os.Remove(small)); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t)
	write(t, filepath.Join(w.here, "src/big"), noise(6<<20, 1))
	write(t, filepath.Join(w.here, "src/small"), []byte("fits"))
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			write(t, small+"/big", []byte("old"))
			res, err := w.Copy(t.Context(), req(filepath.Join(w.here, "src")+"/.", way+":"+small))
			if err == nil {
				t.Fatalf("%+v", res)
			}
			if way == "web1" && !strings.Contains(err.Error(), "no space left on device") {
				t.Errorf("%v", err)
			}
			if got, _ := os.ReadFile(small + "/big"); string(got) != "old" {
				t.Errorf("the existing file holds %q", got)
			}
			noTemps(t, small)
			if got, _ := os.ReadFile(small + "/small"); string(got) != "fits" {
				t.Errorf("the other file was not copied: %q", got)
			}
		})
	}
	// The same where the disk of this machine is full.
	if _, err := w.Copy(t.Context(), req("web1:"+filepath.Join(w.here, "src/big"), small+"/big")); err == nil {
		t.Error("download: no error")
	}
	noTemps(t, small)
}

// TestReadOnly: a file system that takes nothing, and names that cannot be replaced.
func TestReadOnly(t *testing.T) {
	testkit.Root(t)
	small, err := os.MkdirTemp("/mnt", "bowline-test-")
	must(t, err)
	must(t, syscall.Mount("tmpfs", small, "tmpfs", 0, "size=4m"))
	t.Cleanup(func() {
		if err := errors.Join(syscall.Unmount(small, 0), os.Remove(small)); err != nil {
			t.Error(err)
		}
	})
	write(t, small+"/dst", []byte("old"))
	must(t, syscall.Mount("tmpfs", small, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	w := newWorld(t)
	src := filepath.Join(w.here, "src")
	write(t, src, noise(1<<20, 1))
	for _, way := range ways {
		for _, resume := range []bool{false, true} {
			r := req(src, way+":"+small+"/dst")
			r.Resume = resume
			res, err := w.Copy(t.Context(), r)
			if err == nil || len(res.Files) != 1 || res.Files[0].Status != transfer.Failed {
				t.Errorf("%s resume=%v: %v, %+v", way, resume, err, res.Files)
			}
		}
	}
	if got, _ := os.ReadFile(small + "/dst"); string(got) != "old" {
		t.Errorf("the existing file holds %q", got)
	}
	noTemps(t, small)
}

// TestChangedOverLink: a file that somebody appends to while it is read is not put
// in place, in either direction; resumed when it is quiet, it arrives.
func TestChangedOverLink(t *testing.T) {
	w := newWorld(t)
	for _, way := range ways {
		for _, up := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s up=%v", way, up), func(t *testing.T) {
				w.t = t
				src, dst := filepath.Join(w.here, "src"), filepath.Join(w.far, "dst")
				r := req(src, way+":"+dst)
				if !up {
					r = req(way+":"+src, dst)
				}
				write(t, src, noise(8<<20, 1))
				write(t, dst, []byte("old"))
				r.Resume = true
				var once sync.Once
				r.Progress = func(copier.Progress) {
					once.Do(func() {
						f, err := os.OpenFile(src, os.O_WRONLY|os.O_APPEND, 0)
						must(t, err)
						_, err = f.WriteString("more")
						must(t, errors.Join(err, f.Close()))
					})
				}
				res, err := w.Copy(t.Context(), r)
				if err == nil || len(res.Files) != 1 || res.Files[0].Status != transfer.Changed {
					t.Errorf("%v, %+v", err, res.Files)
				}
				if got, _ := os.ReadFile(dst); string(got) != "old" {
					t.Errorf("the existing file holds %d bytes", len(got))
				}
				r.Progress = nil
				if _, err := w.Copy(t.Context(), r); err != nil {
					t.Error(err)
				}
				want, _ := os.ReadFile(src)
				if got, _ := os.ReadFile(dst); !bytes.Equal(got, want) {
					t.Error("the copy differs")
				}
			})
		}
	}
}

// TestOrdinaryUser: an account that may not write there says so and changes nothing.
func TestOrdinaryUser(t *testing.T) {
	testkit.Root(t)
	user := testkit.User(t)
	w := newWorld(t, testkit.LoginUser(user))
	src := filepath.Join(w.here, "src")
	write(t, src, []byte("x"))
	must(t, os.Chmod(w.far, 0o755))
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			w.t = t
			if _, err := w.Copy(t.Context(), req(src, way+":"+w.far+"/dst")); err == nil || !strings.Contains(err.Error(), "permission denied") && !strings.Contains(err.Error(), "SSH_FX_PERMISSION_DENIED") {
				t.Errorf("%v", err)
			}
			noTemps(t, w.far)
			w.cp(src, way+":"+w.home+"/mine-"+way)
			info, err := os.Stat(filepath.Join(w.home, "mine-"+way))
			must(t, err)
			if uid := info.Sys().(*syscall.Stat_t).Uid; uid == 0 {
				t.Error("the file belongs to root")
			}
		})
	}
}

// TestRules: refused paths, also behind links; R61.
func TestRules(t *testing.T) {
	w := newWorld(t)
	src := filepath.Join(w.here, "src")
	write(t, src, []byte("x"))
	for _, d := range []string{"ok/sub", "ok/secret", "outside"} {
		must(t, os.MkdirAll(filepath.Join(w.far, d), 0o755))
	}
	write(t, filepath.Join(w.far, "ok/secret/key"), []byte("key"))
	write(t, filepath.Join(w.far, "ok/readable"), []byte("r"))
	must(t, os.Symlink(filepath.Join(w.far, "outside"), filepath.Join(w.far, "ok/abs")))
	must(t, os.Symlink("../outside", filepath.Join(w.far, "ok/rel")))
	must(t, os.Symlink("secret", filepath.Join(w.far, "ok/alias")))
	must(t, os.Symlink("sub", filepath.Join(w.far, "ok/inside")))
	w.rules = transfer.Policy{Allow: []string{filepath.Join(w.far, "ok")}, Refuse: []string{filepath.Join(w.far, "ok/secret")}}
	for _, way := range ways {
		for _, bad := range []string{"outside/x", "ok/../outside/x", "ok/abs/x", "ok/rel/x", "ok/secret/x", "ok/alias/x", "ok/sub/../secret/x", "ok-not/x", "ok/rel"} {
			res, err := w.Copy(t.Context(), req(src, way+":"+w.far+"/"+bad))
			if diag.KindOf(err) != diag.Refused {
				t.Errorf("%s: up to %s: %v, %+v", way, bad, err, res)
			}
		}
		for _, bad := range []string{"ok/secret/key", "ok/alias/key", "ok/secret", "ok", "ok/sub/../secret/key", "ok/sec*/key", "ok/rel"} {
			if strings.HasSuffix(bad, "rel") { // as a link it may be read, with its text
				continue
			}
			res, err := w.Copy(t.Context(), req(way+":"+w.far+"/"+bad, filepath.Join(w.here, "got")))
			if err == nil || diag.KindOf(err) != diag.Refused && !strings.Contains(bad, "*") {
				t.Errorf("%s: down from %s: %v, %+v", way, bad, err, res)
			}
		}
		if list, _ := filepath.Glob(filepath.Join(w.far, "outside/*")); len(list) > 0 {
			t.Errorf("written outside: %q", list)
		}
		must(t, os.RemoveAll(filepath.Join(w.here, "got")))
		w.cp(src, way+":"+w.far+"/ok/sub/"+way)
		w.cp(src, way+":"+w.far+"/ok/inside/in-"+way)
		w.cp(way+":"+w.far+"/ok/readable", filepath.Join(w.here, "got-"+way))
	}
	// Refused by how it is written: nothing is asked of the network.
	w.server.Stop(t)
	if _, err := w.Copy(t.Context(), req(src, "web1:/etc/../root/x")); diag.KindOf(err) != diag.Refused {
		t.Errorf("%v", err)
	}
}

// TestLinksBelowDestination: what is a link there is not followed.
func TestLinksBelowDestination(t *testing.T) {
	w := newWorld(t)
	write(t, filepath.Join(w.here, "src/dir/file"), []byte("new"))
	write(t, filepath.Join(w.here, "src/name"), []byte("new"))
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			far := filepath.Join(w.far, way)
			out := filepath.Join(w.far, way+"-outside")
			must(t, errors.Join(os.MkdirAll(far, 0o755), os.MkdirAll(out, 0o755)))
			write(t, filepath.Join(out, "victim"), []byte("old"))
			must(t, os.Symlink(out, filepath.Join(far, "dir")))
			must(t, os.Symlink(filepath.Join(out, "victim"), filepath.Join(far, "name")))
			_, err := w.Copy(t.Context(), req(filepath.Join(w.here, "src")+"/.", way+":"+far))
			if err == nil || !strings.Contains(err.Error(), "in the way") {
				t.Errorf("%v", err)
			}
			if list, _ := os.ReadDir(out); len(list) != 1 {
				t.Errorf("written through the link: %v", list)
			}
			if got, _ := os.ReadFile(filepath.Join(out, "victim")); string(got) != "old" {
				t.Errorf("written through the link: %q", got)
			}
			if got, _ := os.ReadFile(filepath.Join(far, "name")); string(got) != "new" {
				t.Errorf("name holds %q", got)
			}
		})
	}
}

// TestNoDigestTool: R56; then reading back, and where that cannot be, unverified.
func TestNoDigestTool(t *testing.T) {
	bin := testkit.Dir(t)
	must(t, os.Chmod(bin, 0o755))
	w := newWorld(t, testkit.ConfigLines("SetEnv PATH="+bin))
	src := filepath.Join(w.here, "src")
	write(t, src, noise(2<<20, 1))
	if by := w.cp(src, "bare:"+w.far+"/dst").Files[0].By; by != "read-back" {
		t.Errorf("digest by %q", by)
	}
	w = newWorld(t, testkit.ConfigLines("SetEnv PATH="+bin), testkit.Subsystem("Subsystem sftp internal-sftp -P read"))
	write(t, filepath.Join(w.here, "src"), noise(2<<20, 1))
	res, err := w.Copy(t.Context(), req(filepath.Join(w.here, "src"), "bare:"+w.far+"/dst"))
	if err == nil || len(res.Files) != 1 || res.Files[0].Status != transfer.Unverified {
		t.Errorf("%v, %+v", err, res)
	}
	if !strings.Contains(fmt.Sprint(err), "unverified") || !strings.Contains(diag.HintOf(err), "sha256sum") {
		t.Errorf("%v; %s", err, diag.HintOf(err))
	}
}

// TestLyingTool: a program that answers another digest is a mismatch, and the old
// file stands. R55.
func TestLyingTool(t *testing.T) {
	bin := testkit.Dir(t)
	must(t, os.Chmod(bin, 0o755))
	must(t, os.WriteFile(filepath.Join(bin, "sha256sum"), []byte("#!/bin/sh\necho "+strings.Repeat("0", 64)+"  -\n"), 0o755))
	w := newWorld(t, testkit.ConfigLines("SetEnv PATH="+bin))
	src := filepath.Join(w.here, "src")
	write(t, src, []byte("new"))
	write(t, filepath.Join(w.far, "dst"), []byte("old"))
	res, err := w.Copy(t.Context(), req(src, "bare:"+w.far+"/dst"))
	if diag.KindOf(err) != diag.Conflict || res.Files[0].Status != transfer.Mismatched {
		t.Errorf("%v, %+v", err, res)
	}
	if got, _ := os.ReadFile(filepath.Join(w.far, "dst")); string(got) != "old" {
		t.Errorf("the existing file holds %q", got)
	}
	noTemps(t, w.far)
}

// TestAtOnce: R59; two copies to one name, with and without resuming: one of them
// is there, whole.
func TestAtOnce(t *testing.T) {
	w := newWorld(t)
	a, b := noise(8<<20, 1), noise(8<<20, 2)
	write(t, filepath.Join(w.here, "a"), a)
	write(t, filepath.Join(w.here, "b"), b)
	for _, way := range ways {
		for _, names := range [][2]string{{"a", "b"}, {"a", "a"}} {
			for _, resume := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %v resume=%v", way, names, resume), func(t *testing.T) {
					w.t = t
					w.atOnce(names, way, resume)
					if got, err := os.ReadFile(filepath.Join(w.far, "dst")); err != nil || !bytes.Equal(got, a) && !bytes.Equal(got, b) {
						t.Errorf("%d bytes of neither, %v", len(got), err)
					}
					noTemps(t, w.far)
				})
			}
		}
	}
}

func (w *world) atOnce(names [2]string, way string, resume bool) {
	errs := make(chan error, 2)
	for _, n := range names {
		r := req(filepath.Join(w.here, n), way+":"+w.far+"/dst")
		r.Resume = resume
		go func() {
			_, err := w.Copy(w.t.Context(), r)
			errs <- err
		}()
	}
	failed := 0
	for range 2 {
		if err := <-errs; err != nil {
			failed++
			if way == "web1" && !strings.Contains(err.Error(), transfer.ErrBusy.Error()) {
				w.t.Error(err)
			}
		}
	}
	if failed > 1 || failed > 0 && (!resume || names[0] != names[1]) {
		w.t.Errorf("%d failed", failed)
	}
}

// TestDelta: of a large file that changed a little, little is sent, whatever moved.
func TestDelta(t *testing.T) {
	const size = 24 << 20
	w := newWorld(t)
	data := noise(size, 1)
	write(t, filepath.Join(w.here, "small"), nil)
	w.cp(filepath.Join(w.here, "small"), "web1:"+w.far+"/small") // the helper is there now
	edited := append(bytes.Clone(data[:5<<20]), data[6<<20:]...) // a MiB is gone
	copy(edited[12<<20:], "changed")
	swapped := append(bytes.Clone(data[size/2:]), data[:size/2]...)
	for name, now := range map[string][]byte{
		"the same":              data,
		"inserted at the front": append([]byte("a line that was not there\n"), data...),
		"longer":                append(bytes.Clone(data), "and longer"...),
		"edited":                edited,
		"halves swapped":        swapped,
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			src, far, near := filepath.Join(w.here, "src"), filepath.Join(w.far, "dst"), filepath.Join(w.here, "back")
			write(t, src, now)
			for _, c := range []struct{ src, dst, file string }{{src, "web1:" + far, far}, {"web1:" + src, near, near}, {"bare:" + src, "web1:" + far, far}} {
				write(t, c.file, data)
				w.moved.Store(0)
				res := w.cp(c.src, c.dst)
				if got, _ := os.ReadFile(c.file); !bytes.Equal(got, now) {
					t.Fatal("the copy differs")
				}
				if strings.HasPrefix(c.src, "bare") {
					continue // it is read over the link in any case
				}
				if r := res.Files[0].Reused; r < int64(len(now))-1<<20 {
					t.Errorf("to %s: only %d bytes were reused", c.dst, r)
				}
				if m := w.moved.Load(); m > 1<<20+besides {
					t.Errorf("to %s: %d bytes were moved", c.dst, m)
				}
			}
		})
	}
}

// TestSparseDelta: holes stay holes where an older version is used, and where a
// copy goes on.
func TestSparseDelta(t *testing.T) {
	w := newWorld(t)
	src := filepath.Join(w.here, "image")
	write(t, src, noise(4<<20, 1))
	must(t, os.Truncate(src, 96<<20))
	for _, resume := range []bool{false, true} {
		for _, c := range [][2]string{{"web1:" + w.far + "/image", w.far + "/image"}, {w.here + "/back", w.here + "/back"}} {
			r := req(src, c[0])
			if c[0] == c[1] {
				r = req("web1:"+src, c[0])
			}
			r.Resume = resume
			for range 2 { // the second time over the first
				if _, err := w.Copy(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				var st syscall.Stat_t
				must(t, syscall.Stat(c[1], &st))
				if st.Size != 96<<20 || st.Blocks*512 > 8<<20 {
					t.Errorf("%s resume=%v: %d bytes take %d", c[0], resume, st.Size, st.Blocks*512)
				}
				f, err := os.OpenFile(src, os.O_WRONLY, 0)
				must(t, err)
				_, err = f.WriteAt([]byte("changed"), 2<<20)
				must(t, errors.Join(err, f.Close()))
			}
			must(t, exec.Command("cmp", "-n", "1000000", src, c[1]).Run())
		}
	}
}

// TestDeltaOfOther: an older file that has nothing of the new one, and one that
// changes while it is used, do no harm.
func TestDeltaOfOther(t *testing.T) {
	w := newWorld(t)
	src, dst := filepath.Join(w.here, "src"), filepath.Join(w.far, "dst")
	data := noise(9<<20, 1)
	write(t, src, data)
	write(t, dst, noise(9<<20, 2))
	if res := w.cp(src, "web1:"+dst); res.Files[0].Reused != 0 {
		t.Errorf("%+v", res.Files)
	}
	r := req(src, "web1:"+dst)
	var once sync.Once
	r.Progress = func(copier.Progress) {
		once.Do(func() {
			f, err := os.OpenFile(dst, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt(noise(2<<20, 3), 6<<20)
			must(t, errors.Join(err, f.Close()))
		})
	}
	res, err := w.Copy(t.Context(), r)
	got, rerr := os.ReadFile(dst)
	must(t, rerr)
	if ok := len(res.Files) == 1 && res.Files[0].Status.OK(); ok != bytes.Equal(got, data) || ok != (err == nil) {
		t.Errorf("%v, %+v", err, res.Files)
	}
	noTemps(t, w.far)
}

// TestBetweenTargets copies from one target to another, in all four ways.
func TestBetweenTargets(t *testing.T) {
	w := newWorld(t)
	nasty(t, filepath.Join(w.far, "tree"))
	for _, from := range []string{"web1", "bare"} {
		for _, to := range []string{"web2", "bare2", "local"} {
			t.Run(from+" "+to, func(t *testing.T) {
				w.t = t
				dst := filepath.Join(w.far, from+to)
				w.cp(from+":"+filepath.Join(w.far, "tree"), to+":"+dst)
				sameTree(t, filepath.Join(w.far, "tree"), dst)
			})
		}
	}
}

// TestGlobs: patterns are matched there, by no shell.
func TestGlobs(t *testing.T) {
	w := newWorld(t)
	for _, n := range []string{"a.log", "b.log", "c.txt", ".hidden.log", "d/e.log", "$(touch pwned).log", "lit[eral].log"} {
		write(t, filepath.Join(w.far, n), []byte(n))
	}
	for _, way := range ways {
		for pattern, want := range map[string]int{"*.log": 4, "?.log": 2, "*/*.log": 1, "lit[eral].log": 1, "[ab].log": 2} {
			dst := filepath.Join(testkit.Dir(t)) + "/"
			res, err := w.Copy(t.Context(), req(way+":"+w.far+"/"+pattern, dst))
			if err != nil || len(res.Files) != want {
				t.Errorf("%s %s: %v, %+v", way, pattern, err, res.Files)
			}
		}
		if _, err := w.Copy(t.Context(), req(way+":"+w.far+"/*.nothing", w.here)); err == nil {
			t.Error("a pattern without a match")
		}
	}
}

// TestRecord: R62, R64, R68: the intent before, the outcome after, with digests;
// nothing without a record.
func TestRecord(t *testing.T) {
	w := newWorld(t)
	src := filepath.Join(w.here, "src")
	write(t, src, []byte("hello"))
	w.cp(src, "web1:"+w.far+"/dst")
	in, out := w.log.intents[0], w.log.outcomes[0]
	if in.Verb != "cp" || in.Target != "web1" || len(in.Argv) != 3 {
		t.Errorf("%+v", in)
	}
	if out.Err != nil || out.HostKey == "" || out.Digests["dst"] != "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" {
		t.Errorf("%+v", out)
	}
	for _, r := range []copier.Request{req(src, "nope:/x"), req(src, src+"2"), req(filepath.Join(w.here, "missing"), "web1:"+w.far+"/x")} {
		n := len(w.log.outcomes)
		if _, err := w.Copy(t.Context(), r); err == nil || len(w.log.outcomes) != n+1 || w.log.outcomes[n].Err == nil {
			t.Errorf("%v is not on record: %v", r, err)
		}
	}
	w.log.refuse = errors.New("disk full")
	if _, err := w.Copy(t.Context(), req(src, "web1:"+w.far+"/unrecorded")); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(w.far + "/unrecorded"); err == nil {
		t.Error("copied without a record")
	}
}

// TestStream: standard input to a file and back.
func TestStream(t *testing.T) {
	w := newWorld(t)
	data := noise(3<<20+5, 4)
	for _, way := range ways {
		r := copier.Request{Sources: []copier.Location{{Path: "-"}}, Dest: loc(way + ":" + w.far + "/s"), Stdin: bytes.NewReader(data)}
		if res, err := w.Copy(t.Context(), r); err != nil || res.Files[0].Status != transfer.Verified {
			t.Fatalf("%s: %v, %+v", way, err, res)
		}
		var out bytes.Buffer
		r = copier.Request{Sources: []copier.Location{loc(way + ":" + w.far + "/s")}, Dest: copier.Location{Path: "-"}, Stdout: &out}
		if _, err := w.Copy(t.Context(), r); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Errorf("%s: %d bytes, %v", way, out.Len(), err)
		}
	}
}

// TestModeAndOwner: R60.
func TestModeAndOwner(t *testing.T) {
	testkit.Root(t)
	w := newWorld(t)
	src := filepath.Join(w.here, "src")
	write(t, src, []byte("x"))
	mode := uint32(0o4750)
	for _, way := range ways {
		r := req(src, way+":"+w.far+"/"+way)
		r.Mode, r.Owner = &mode, "daemon:12345"
		if _, err := w.Copy(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		var st syscall.Stat_t
		must(t, syscall.Stat(w.far+"/"+way, &st))
		if st.Mode&0o7777 != 0o4750 || st.Uid != 1 || st.Gid != 12345 {
			t.Errorf("%s: mode %o, owner %d:%d", way, st.Mode, st.Uid, st.Gid)
		}
		// Replaced by root, it stays its owner's.
		if _, err := w.Copy(t.Context(), req(src, way+":"+w.far+"/"+way)); err != nil {
			t.Fatal(err)
		}
		must(t, syscall.Stat(w.far+"/"+way, &st))
		if st.Uid != 1 || st.Gid != 12345 {
			t.Errorf("%s: replaced, the owner is %d:%d", way, st.Uid, st.Gid)
		}
		r.Owner = "no-such-user"
		if _, err := w.Copy(t.Context(), r); err == nil || !strings.Contains(err.Error(), "no-such-user") {
			t.Errorf("%s: %v", way, err)
		}
	}
}
