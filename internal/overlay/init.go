//go:build linux

package overlay

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
)

// script is what init and launch need to know.
type script struct {
	Root   change.Path // of the view
	Argv   words
	Dir    change.Path
	Env    words
	Umask  int
	User   bool
	PidMax int // processes the script may have at a time; 0 for the kernel's limit
}

// ending is what init reports when the script is gone.
type ending struct {
	Status syscall.WaitStatus
	Kind   diag.Kind // set if the script did not start
	Err    string
}

func initMain() int {
	var s script
	report, err := started(&s)
	if err != nil {
		return 1
	}
	// As the first process of its namespace init gets those signals of the
	// script that it handles, and must not die of them. Ignoring them instead
	// would be inherited.
	signal.Notify(make(chan os.Signal, 1))
	end, err := runInit(s)
	if err != nil {
		end = ending{Kind: diag.Sandbox, Err: err.Error()}
		if e, ok := errors.AsType[*diag.Error](err); ok {
			end.Kind = e.Kind
		}
	}
	if err := json.NewEncoder(report).Encode(end); err != nil {
		return 1
	}
	return 0 // and with it everything in this pid namespace
}

func runInit(s script) (ending, error) {
	if err := dressProc(s); err != nil {
		return ending{}, err
	}
	if err := pivot(string(s.Root)); err != nil {
		return ending{}, err
	}
	pid, report, err := start(launchName, stubPath, 0, "", s)
	if err != nil {
		return ending{}, err
	}
	defer report.Close()
	// The report closes when launch has become the script.
	var failed ending
	if err := json.NewDecoder(report).Decode(&failed); err == nil {
		return failed, nil
	}
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return ending{}, fmt.Errorf("wait for the script: %w", err)
		case got == pid:
			return ending{Status: status}, nil
		}
	}
}

// dressProc mounts a /proc for this pid namespace and covers what reaches the
// kernel of the host.
func dressProc(s script) error {
	proc := string(s.Root) + "/proc"
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount a new /proc: %w", err)
	}
	if s.PidMax > 0 {
		if err := os.WriteFile(proc+"/sys/kernel/pid_max", fmt.Append(nil, s.PidMax), 0); err != nil {
			return fmt.Errorf("limit processes: %w", err)
		}
	}
	for _, name := range []string{"sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "mtrr", "driver"} {
		if err := bindOver(proc+"/"+name, proc+"/"+name); err != nil {
			return err
		}
	}
	for _, name := range []string{"kcore", "kmsg", "kpagecount", "kpageflags", "kpagecgroup", "keys", "timer_list", "sched_debug", "latency_stats"} {
		if err := bindOver(string(s.Root)+meet+"/empty", proc+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// bindOver covers to with from, read-only, where to exists.
func bindOver(from, to string) error {
	if _, err := os.Lstat(to); err != nil {
		return nil
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("cover %s: %w", to, err)
	}
	return restrict(to, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
}

// restrict adds attributes to the mount at path and all below it.
func restrict(path string, attr uint64) error {
	err := unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attr})
	if err != nil {
		return fmt.Errorf("make %s read-only: %w", path, err)
	}
	return nil
}

func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter the view: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("make the view the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return unix.Chdir("/")
}

// kept are the capabilities that a script as root keeps: what packages and
// account tools need to change files, and nothing that reaches past them.
var kept = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID,
	unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_SETFCAP, unix.CAP_SYS_CHROOT, unix.CAP_KILL,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_AUDIT_WRITE, unix.CAP_MKNOD,
}

func launchMain() int {
	var s script
	report, err := started(&s)
	if err != nil {
		return 1
	}
	err = launch(s)
	end := ending{Kind: diag.Sandbox, Err: err.Error()}
	if e, ok := errors.AsType[*diag.Error](err); ok {
		end.Kind, end.Err = e.Kind, e.Err.Error()
	}
	_ = json.NewEncoder(report).Encode(end) // nobody else to tell
	return 1
}

// launch becomes the script; it returns only with an error.
func launch(s script) error {
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("start a session: %w", err)
	}
	if err := unix.Chdir(string(s.Dir)); err != nil {
		return diag.New(diag.NotFound, "", "", "enter %q: %w", s.Dir, err)
	}
	exe, err := find(s.Argv[0], s.Env)
	if err != nil {
		return err
	}
	if err := limit(s); err != nil {
		return err
	}
	unix.Umask(s.Umask)
	if err := dropBounding(s.User); err != nil {
		return err
	}
	if err := confine(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close descriptors: %w", err)
	}
	return diag.New(diag.NotFound, "", "", "run %q: %w", exe, syscall.Exec(exe, s.Argv, s.Env))
}

// limit sets what bounds the script besides the size of its layer.
func limit(s script) error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	if s.User {
		// From Linux 5.14 this counts in our user namespace alone; before, all
		// processes of the account. For the real root it does not count at all.
		var r unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NPROC, &r); err != nil {
			return fmt.Errorf("limit processes: %w", err)
		}
		r.Cur, r.Max = min(r.Cur, pidMax), min(r.Max, pidMax)
		if err := unix.Setrlimit(unix.RLIMIT_NPROC, &r); err != nil {
			return fmt.Errorf("limit processes: %w", err)
		}
	}
	return nil
}

func dropBounding(all bool) error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	keep := map[uintptr]bool{}
	for _, c := range kept {
		keep[c] = !all
	}
	for c := uintptr(0); c < 64; c++ {
		if keep[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
			break // past the last one that this kernel knows
		} else if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// find looks a program up as execvp does, in the PATH that the script gets.
func find(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	dirs := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			dirs = v
		}
	}
	for _, dir := range strings.Split(dirs, ":") {
		p := path.Join("/", dir, name)
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && unix.Access(p, unix.X_OK) == nil {
			return p, nil
		}
	}
	return "", diag.New(diag.NotFound, "", "", "%q: not found in %s", name, dirs)
}
