//go:build linux

package circle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/testkit"
)

// debs returns a directory with packages of the distribution, which are fetched
// once and kept.
func debs(t testing.TB, names ...string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "bowline-test", "debs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if found, err := filepath.Glob(dir + "/" + name + "_*.deb"); err != nil || len(found) > 0 {
			continue
		}
		cmd := exec.Command(testkit.Tool(t, "apt-get"), "-q", "-o", "APT::Sandbox::User=root", "download", name)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			testkit.LeftOut(t, fmt.Sprintf("the package %s cannot be fetched ('apt-get update' may help): %v\n%s", name, err, out))
		}
	}
	return dir
}

// chain is a life of packages: each step is a session of its own, planned on what
// the one before it left.
type chain struct {
	debs  []string
	steps []string
}

const apt = "export DEBIAN_FRONTEND=noninteractive; apt-get -q -y --no-install-recommends -o Acquire::Languages=none "

var chains = map[string]chain{
	// An info page, manuals and their trigger.
	"hello": {[]string{"hello"}, []string{apt + "install /run/debs/hello_*.deb", apt + "remove hello", apt + "purge hello"}},
}

// moreChains are for the full campaign.
var moreChains = map[string]chain{
	// Configuration files, a group, a service that is started, one package after
	// the other and both removed at once.
	"cron": {[]string{"cron", "cron-daemon-common", "logrotate", "libpopt0"}, []string{
		apt + "install /run/debs/cron_*.deb /run/debs/cron-daemon-common_*.deb",
		"echo '5 5 * * * root true' >> /etc/crontab; " + apt + "install /run/debs/logrotate_*.deb /run/debs/libpopt0_*.deb",
		"systemctl restart cron; " + apt + "remove logrotate cron", apt + "purge cron logrotate cron-daemon-common libpopt0"}},
	// The cache of the linker, alternatives, and what dpkg does by itself.
	"library": {[]string{"libqrencode4", "ed"}, []string{
		apt + "install /run/debs/libqrencode4_*.deb",
		"dpkg -i /run/debs/ed_*.deb; update-alternatives --set editor /bin/ed", "dpkg --purge libqrencode4; dpkg -r ed"}},
	"reinstall": {[]string{"hello"}, []string{
		"dpkg -i /run/debs/hello_*.deb", "rm /usr/bin/hello; " + apt + "reinstall /run/debs/hello_*.deb; dpkg-divert --divert /usr/bin/hallo --rename /usr/bin/hello"}},
}

func TestPackages(t *testing.T) {
	for name, c := range chains {
		if !full() {
			c.steps = c.steps[:1]
		}
		t.Run(name, func(t *testing.T) { packages(t, c) })
	}
	if !full() {
		return
	}
	for name, c := range moreChains {
		t.Run(name, func(t *testing.T) { packages(t, c) })
	}
}

// packages runs the steps twice by hand and once as sessions. What differs between
// the two runs by hand tells nothing of ours, and is named.
func packages(t *testing.T, c chain) {
	h, dir := newHost(t), debs(t, c.debs...)
	// The machine may have some of them, and rsync, which needs one.
	purge := "for p in rsync " + strings.Join(c.debs, " ") + "; do dpkg --purge --force-all $p > /dev/null 2>&1 || true; done; rm -rf /run/calls/*; find /etc /var /usr -xdev -newer /run/systemctl -exec touch -h -d 2003-03-03 {} +"
	pristine, first, second, circle := newWorld(t, ""), newWorld(t, purge), newWorld(t, purge), newWorld(t, purge)
	for _, w := range []*world{first, second, circle} {
		if err := os.CopyFS(w.root("/run/debs"), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	type done struct {
		s      bowline.Session
		before map[string]node
	}
	var sessions []done
	began := now()
	wild := map[string]bool{}
	for i, step := range c.steps {
		// What an earlier step wrote is as new as what this one writes.
		r := rule{since: [2]int64{began, began}}
		for _, w := range []*world{first, second} {
			h.in(t, w)
			if code := h.direct(t, step); code != 0 {
				t.Fatalf("by hand, %q ends with %d", step, code)
			}
		}
		timeless := rule{was: pristine.at(t), skip: volatile}
		for _, d := range compare(t, first, second, timeless) {
			p, _, _ := strings.Cut(d, "\n")
			if !wild[p] {
				t.Logf("step %d: two runs by hand differ in %s", i+1, p)
			}
			wild[p] = true
		}
		h.in(t, circle)
		before := circle.nodes(t)
		r.was = func(p string) (node, bool) {
			if n, ok := before[p]; ok {
				return n, true
			}
			return pristine.at(t)(p)
		}
		s := h.plan(t, step)
		if s.Plan.Exit != 0 {
			t.Fatalf("in the dry run, %q ends with %d: %s", step, s.Plan.Exit, s.Plan.Stderr)
		}
		still(t, circle, before, pristine)
		h.approve(t, s)
		h.apply(t, s)
		r.skip = func(p string, dir bool) bool { return volatile(p, dir) || wild[fmt.Sprintf("%q", p)] }
		same(t, fmt.Sprintf("step %d, -script +plan", i+1), first, circle, r)
		if want, got := first.calls(t), circle.calls(t); !slices.Equal(want, got) {
			t.Errorf("deferred commands:\n%s\nwhen run:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		t.Logf("step %d: %d operations, %d of them commands", i+1, len(s.Plan.Ops), len(s.Plan.Stretches())-1)
		sessions = append(sessions, done{s, before})
	}
	for _, d := range slices.Backward(sessions) {
		h.rollback(t, d.s)
		still(t, circle, d.before, pristine)
	}
}

// still fails the test unless a world is as it was, and as the untouched one where
// nothing had been written.
func still(t *testing.T, w *world, before map[string]node, pristine *world) {
	t.Helper()
	now := w.nodes(t)
	for p, n := range now {
		was, ok := before[p]
		if !ok {
			if was, ok = pristine.at(t)(p); !ok {
				t.Errorf("%q was not there before", p)
				continue
			}
		}
		if (was.what != n.what || was.mtime != n.mtime || was.links != n.links) && !beside(p) {
			t.Errorf("%q is not as before\n\t%s at %d, %d links\n\t%s at %d, %d links", p, was.what, was.mtime, was.links, n.what, n.mtime, n.links)
		}
	}
	for p := range before {
		if _, ok := now[p]; !ok && !beside(p) {
			t.Errorf("%q is gone", p)
		}
	}
}

// beside is where the service manager of the world keeps account.
func beside(p string) bool { return p == "/run" || strings.HasPrefix(p, "/run/") }
