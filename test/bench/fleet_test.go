package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/testkit"
)

// Fleets are loopback addresses of one sshd, whose MaxStartups is raised to 200: the
// others do not keep below the default and would be dropped. Every side runs the same
// bubblewrap line at 50 hosts at a time.
const fleetFanout = 50

// fleetHosts is the number of hosts; BOWLINE_BENCH_HOSTS sets it.
func fleetHosts(b *testing.B) int { return setting(b, "BOWLINE_BENCH_HOSTS", 200) }

// fleetLinks is the number of links whose memory is measured; BOWLINE_BENCH_LINKS sets it.
func fleetLinks(b *testing.B) int { return setting(b, "BOWLINE_BENCH_LINKS", 1000) }

// fleetRounds is how often each side works on the fleet.
const fleetRounds = 3

// fleetWorld is a fleet, known to Bowline, ssh and Ansible.
type fleetWorld struct {
	*world
	b         *testing.B
	hosts     []string // addresses
	dir       string
	sshConfig string // path
	known     string // path
}

func newFleetWorld(b *testing.B, n int) *fleetWorld {
	b.Helper()
	w := &fleetWorld{world: newWorld(b, testkit.Listen("0.0.0.0")), b: b, dir: testkit.Dir(b)}
	s := w.server
	var config, known, inventory strings.Builder
	for i := range n {
		host := fmt.Sprintf("127.0.%d.%d", 1+i/200, 1+i%200)
		w.hosts = append(w.hosts, host)
		fmt.Fprintf(&config, "[targets.h%04d]\ntype = \"ssh\"\nhost = %q\nport = %d\nuser = %q\nkey_file = %q\n", i, host, s.Port, s.User, s.ClientKeyFile)
		fmt.Fprintf(&known, "[%s]:%d %s\n", host, s.Port, strings.SplitN(s.KnownHostsLine(), " ", 2)[1])
		fmt.Fprintln(&inventory, host)
	}
	fmt.Fprintf(&config, "[groups]\nfleet = [%s]\n", w.names())
	paths := w.client.Paths()
	w.write(paths.Config, config.String())
	pinned, err := os.ReadFile(paths.KnownHosts) // of web1
	if err != nil {
		b.Fatal(err)
	}
	w.write(paths.KnownHosts, string(pinned)+known.String())
	w.known = w.write(filepath.Join(w.dir, "known_hosts"), known.String())
	w.write(filepath.Join(w.dir, "inventory"), inventory.String())
	w.sshConfig = w.write(filepath.Join(w.dir, "ssh_config"), fmt.Sprintf(
		"Host *\nPort %d\nUser %s\nIdentityFile %s\nIdentitiesOnly yes\nUserKnownHostsFile %s\nBatchMode yes\nIdentityAgent none\n", s.Port, s.User, s.ClientKeyFile, w.known))
	return w
}

func (w *fleetWorld) names() string {
	var names []string
	for i := range w.hosts {
		names = append(names, fmt.Sprintf("%q", fmt.Sprintf("h%04d", i)))
	}
	return strings.Join(names, ", ")
}

func (w *fleetWorld) write(path, text string) string {
	w.b.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.b.Fatal(err)
	}
	return path
}

// ours runs the command on the fleet from the command line.
func (w *fleetWorld) ours(env ...string) {
	cmd := exec.CommandContext(w.b.Context(), "../../bin/bowline", append([]string{"run", "-t", "@fleet", "--fanout", fmt.Sprint(fleetFanout), "--"}, argv...)...)
	cmd.Env = append(slices.Clone(w.env), env...)
	mustRun(w.b, cmd)
}

// tool runs a peer (asyncssh is a package of the system's Python) with more environment.
func (w *fleetWorld) tool(env []string, name string, args ...string) string {
	cmd := exec.CommandContext(w.b.Context(), name, args...)
	cmd.Env = append(slices.Clone(os.Environ()), append([]string{"SSH_AUTH_SOCK="}, env...)...)
	cmd.Dir = w.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		w.b.Fatalf("%s: %v\n%.2000s\n%.2000s", cmd.Args, err, out, stderr.String())
	}
	return string(out)
}

func (w *fleetWorld) asyncssh(how string, rounds int) string {
	script, err := filepath.Abs("testdata/fleet_asyncssh.py")
	if err != nil {
		w.b.Fatal(err)
	}
	s := w.server
	return w.tool(nil, "/usr/bin/python3", slices.Concat([]string{script, how, fmt.Sprint(rounds), fmt.Sprint(s.Port), s.User, s.ClientKeyFile, w.known, w.line}, w.hosts)...)
}

// ansible runs the command with module raw, which needs no Python on the target.
func (w *fleetWorld) ansible(sshArgs string) {
	w.tool([]string{"ANSIBLE_HOST_KEY_CHECKING=True", "ANSIBLE_LOCAL_TEMP=" + w.dir + "/a", "ANSIBLE_SSH_ARGS=-F " + w.sshConfig + " " + sshArgs,
		"ANSIBLE_SSH_CONTROL_PATH=" + w.dir + "/%%h"},
		testkit.Tool(w.b, "ansible"), "all", "-i", "inventory", "-f", fmt.Sprint(fleetFanout), "-m", "raw", "-a", w.line)
}

func (w *fleetWorld) clush(sshArgs string) {
	sshArgs = strings.ReplaceAll(sshArgs, "%", "%%") // it expands them itself
	w.tool(nil, testkit.Tool(w.b, "clush"), "-f", fmt.Sprint(fleetFanout), "-S", "-b", "-o", "-F "+w.sshConfig+" "+sshArgs, "-w", strings.Join(w.hosts, ","), w.line)
}

func (w *fleetWorld) parallelSSH(sshArgs string) {
	w.tool(nil, testkit.Tool(w.b, "parallel-ssh"), "-p", fmt.Sprint(fleetFanout), "-t", "0", "-h", "inventory", "-x", "-F "+w.sshConfig+" "+sshArgs, w.line)
}

// turns runs all sides turn by turn and reports their medians and our ratio to each.
func turns(b *testing.B, ours func() time.Duration, peers map[string]func() time.Duration) {
	var names []string
	for name := range peers {
		names = append(names, name)
	}
	slices.Sort(names)
	took := map[string][]time.Duration{}
	for range fleetRounds {
		took["ours"] = append(took["ours"], ours())
		for _, name := range names {
			took[name] = append(took[name], peers[name]())
		}
	}
	mine := median(took["ours"])
	b.ReportMetric(ms(mine), "ours_ms")
	for _, name := range names {
		b.ReportMetric(ms(median(took[name])), name+"_ms")
		b.ReportMetric(float64(mine)/float64(median(took[name])), name+"_ratio")
	}
	b.ReportMetric(0, "ns/op")
}

func clocked(f func()) func() time.Duration { return func() time.Duration { return timed(f) } }

// BenchmarkFleetCold: connect to every host, log in, run, from the command line.
func BenchmarkFleetCold(b *testing.B) {
	w := newFleetWorld(b, fleetHosts(b))
	const alone = "-o ControlMaster=no -o ControlPath=none"
	turns(b, clocked(func() { w.ours("BOWLINE_PERSIST=off") }), map[string]func() time.Duration{
		"asyncssh": clocked(func() { w.asyncssh("cold", 1) }), "ansible": clocked(func() { w.ansible(alone) }),
		"clush": clocked(func() { w.clush(alone) }), "pssh": clocked(func() { w.parallelSSH(alone) }),
	})
}

// BenchmarkFleetWarm: the same over connections that are open, from the command line:
// ours, with helpers, by the background process, those of the others by ControlMaster.
func BenchmarkFleetWarm(b *testing.B) {
	w := newFleetWorld(b, fleetHosts(b))
	kept := "-o ControlMaster=auto -o ControlPersist=600 -o ControlPath=" + w.dir + "/%h"
	b.Cleanup(func() {
		for _, host := range w.hosts {
			_ = exec.Command("ssh", "-F", w.sshConfig, "-o", "ControlPath="+w.dir+"/%h", "-O", "exit", host).Run() // the server is about to go anyway
		}
	})
	w.placeHelper(b)
	for range 3 { // it is taken from the second command on
		w.ours()
	}
	w.clush(kept)
	turns(b, clocked(func() { w.ours() }), map[string]func() time.Duration{
		"ansible": clocked(func() { w.ansible(kept) }), "clush": clocked(func() { w.clush(kept) }), "pssh": clocked(func() { w.parallelSSH(kept) }),
	})
}

// BenchmarkFleetWarmAPI: the same from Go, against asyncssh; neither starts a program.
func BenchmarkFleetWarmAPI(b *testing.B) {
	w := newFleetWorld(b, fleetHosts(b))
	c, err := bowline.Open(b.Context(), bowline.Config{ConfigDir: filepath.Dir(w.client.Paths().Config), StateDir: filepath.Join(w.dir, "state"), RuntimeDir: w.dir})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	names := make([]string, len(w.hosts))
	for i := range names {
		names[i] = fmt.Sprintf("h%04d", i)
	}
	ours := func() {
		report, err := c.RunFleet(b.Context(), names, bowline.RunRequest{Argv: argv}, bowline.FleetOptions{Fanout: fleetFanout}, func(string) {}, func(bowline.FleetResult) {})
		if err != nil || !report.OK() {
			b.Fatalf("%+v, %v", report.Classes, err)
		}
	}
	w.placeHelper(b)
	for range 3 { // it is taken from the second command on
		ours()
	}
	var mine, theirs []time.Duration
	for range fleetRounds {
		mine = append(mine, timed(ours))
	}
	for line := range strings.Lines(w.asyncssh("warm", fleetRounds)) {
		seconds, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
		if err != nil {
			b.Fatal(err)
		}
		theirs = append(theirs, time.Duration(seconds*float64(time.Second)))
	}
	b.ReportMetric(ms(median(mine)), "ours_ms")
	b.ReportMetric(ms(median(theirs)), "asyncssh_ms")
	b.ReportMetric(float64(median(mine))/float64(median(theirs)), "asyncssh_ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFleetMemory: what the process takes that keeps the links, all having run a
// command: while nobody calls, and at most.
func BenchmarkFleetMemory(b *testing.B) {
	w := newFleetWorld(b, fleetLinks(b))
	w.ours()
	cmd := exec.Command("../../bin/bowline", "link", "list", "--json")
	cmd.Env = w.env
	out, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	var list struct {
		PID   int               `json:"pid"`
		Links []json.RawMessage `json:"links"`
	}
	if err := json.Unmarshal(out, &list); err != nil || len(list.Links) != len(w.hosts) {
		b.Fatalf("%d links of %d, %v", len(list.Links), len(w.hosts), err)
	}
	least := memoryOf(b, list.PID, "VmRSS:")
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		least = min(least, memoryOf(b, list.PID, "VmRSS:")) // some is given back when nobody calls
	}
	b.ReportMetric(least, "rss_MiB")
	b.ReportMetric(memoryOf(b, list.PID, "VmHWM:"), "peak_MiB")
	b.ReportMetric(0, "ns/op")
}

// memoryOf reads a field of /proc/PID/status, in MiB.
func memoryOf(b *testing.B, pid int, field string) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte(field))
	kib, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}
