package bench

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// transferSize is the size of the large file, in MiB; BOWLINE_BENCH_MIB sets it.
func transferSize(b *testing.B) int {
	return setting(b, "BOWLINE_BENCH_MIB", 1024)
}

// transferFiles is the number of small files; BOWLINE_BENCH_FILES sets it.
func transferFiles(b *testing.B) int {
	return setting(b, "BOWLINE_BENCH_FILES", 10_000)
}

func setting(b *testing.B, name string, standard int) int {
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s=%s", name, text)
	}
	return n
}

// transferRounds is how often each side copies.
const transferRounds = 3

// scpArgs are the options of ssh in scp's spelling, without the address.
func (w *world) sshOptions() []string {
	return slices.Clone(w.ssh[1 : len(w.ssh)-3])
}

func (w *world) address() string { return w.server.User + "@" + w.server.Host }

func (w *world) scp(b *testing.B, args ...string) {
	mustRun(b, exec.Command(testkit.Tool(b, "scp"), slices.Concat(w.sshOptions(), []string{"-q", "-P", fmt.Sprint(w.server.Port)}, args)...))
}

func (w *world) rsync(b *testing.B, args ...string) {
	shell := strings.Join(slices.Concat([]string{w.ssh[0]}, w.sshOptions(), []string{"-p", fmt.Sprint(w.server.Port)}), " ")
	mustRun(b, exec.Command(testkit.Tool(b, "rsync"), slices.Concat([]string{"-a", "-W", "-e", shell}, args)...))
}

// cp runs bin/bowline cp.
func (w *world) cp(b *testing.B, args ...string) {
	cmd := exec.CommandContext(b.Context(), "../../bin/bowline", append([]string{"cp", "-q"}, args...)...)
	cmd.Env = w.env
	mustRun(b, cmd)
}

// place is a directory on the disk that the copies go to.
func place(b *testing.B) string {
	dir, err := os.MkdirTemp("/var/tmp", "bowline-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	return dir
}

func largeFile(b *testing.B, dir string) string {
	name := filepath.Join(dir, "large")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for range transferSize(b) {
		if _, err := rand.Read(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := f.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return name
}

// fresh removes what an earlier round left, so that nobody gains from it, and lets
// the disk come to rest.
func fresh(b *testing.B, names ...string) {
	for _, n := range names {
		if err := os.RemoveAll(n); err != nil {
			b.Fatal(err)
		}
	}
	mustRun(b, exec.Command("sync"))
}

// compareCopies is compare for copies to dst, which is removed before each.
func compareCopies(b *testing.B, dst string, ours, peer func()) {
	var a, p []time.Duration
	for range transferRounds {
		fresh(b, dst)
		a = append(a, timed(ours))
		fresh(b, dst)
		p = append(p, timed(peer))
	}
	b.ReportMetric(ms(median(a)), "ours_ms")
	b.ReportMetric(ms(median(p)), "peer_ms")
	b.ReportMetric(float64(median(a))/float64(median(p)), "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkUpload: one large file, verified and synced, from the command line,
// against scp, which does neither.
func BenchmarkUpload(b *testing.B) {
	w, dir := newWorld(b), place(b)
	src, dst := largeFile(b, dir), filepath.Join(dir, "copy")
	compareCopies(b, dst,
		func() { w.cp(b, src, "web1:"+dst) },
		func() { w.scp(b, src, w.address()+":"+dst) })
}

// BenchmarkDownload: the same the other way.
func BenchmarkDownload(b *testing.B) {
	w, dir := newWorld(b), place(b)
	src, dst := largeFile(b, dir), filepath.Join(dir, "copy")
	compareCopies(b, dst,
		func() { w.cp(b, "web1:"+src, dst) },
		func() { w.scp(b, w.address()+":"+src, dst) })
}

// BenchmarkUploadRsync: against rsync without its deltas.
func BenchmarkUploadRsync(b *testing.B) {
	w, dir := newWorld(b), place(b)
	src, dst := largeFile(b, dir), filepath.Join(dir, "copy")
	compareCopies(b, dst,
		func() { w.cp(b, src, "web1:"+dst) },
		func() { w.rsync(b, src, w.address()+":"+dst) })
}

func smallFiles(b *testing.B, dir string) string {
	root := filepath.Join(dir, "small")
	buf := make([]byte, 4<<10)
	for i := range transferFiles(b) {
		sub := filepath.Join(root, fmt.Sprintf("d%02d", i%100))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		if _, err := rand.Read(buf); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%05d", i)), buf, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return root
}

// BenchmarkSmallFiles: a tree of small files, against "tar | ssh tar".
func BenchmarkSmallFiles(b *testing.B) {
	w, dir := newWorld(b), place(b)
	src, dst := smallFiles(b, dir), filepath.Join(dir, "copy")
	tar := func() {
		line := fmt.Sprintf("tar -C %s -cf - small | %s 'mkdir -p %s && tar -C %s -xf -'", dir, strings.Join(w.ssh, " "), dst, dst)
		mustRun(b, exec.Command("sh", "-c", line))
	}
	compareCopies(b, dst, func() { w.cp(b, "-r", src, "web1:"+dst) }, tar)
}

// BenchmarkSmallFilesDown: the same the other way.
func BenchmarkSmallFilesDown(b *testing.B) {
	w, dir := newWorld(b), place(b)
	src, dst := smallFiles(b, dir), filepath.Join(dir, "copy")
	tar := func() {
		line := fmt.Sprintf("mkdir -p %s && %s 'tar -C %s -cf - small' | tar -C %s -xf -", dst, strings.Join(w.ssh, " "), dir, dst)
		mustRun(b, exec.Command("sh", "-c", line))
	}
	compareCopies(b, dst, func() { w.cp(b, "-r", "web1:"+src, dst) }, tar)
}

// BenchmarkUploadMemory: what the client takes for the large file.
func BenchmarkUploadMemory(b *testing.B) {
	w, dir := newWorld(b), place(b)
	src, dst := largeFile(b, dir), filepath.Join(dir, "copy")
	cmd := exec.CommandContext(b.Context(), "../../bin/bowline", "cp", "-q", src, "web1:"+dst)
	cmd.Env = w.env
	mustRun(b, cmd)
	b.ReportMetric(float64(peakMemory(cmd))/1024, "MiB")
	b.ReportMetric(0, "ns/op")
}
