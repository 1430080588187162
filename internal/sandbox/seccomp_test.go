package sandbox

import (
	"encoding/binary"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// numbers reads the system call numbers of an architecture from the source of
// golang.org/x/sys/unix, which is made from the kernel's headers.
func numbers(t *testing.T, goarch string) map[string]uint32 {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatalf("find golang.org/x/sys: %v", err)
	}
	file := filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+goarch+".go")
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	nr := map[string]uint32{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
			v, err := strconv.ParseUint(lit.Value, 0, 32)
			if err != nil {
				t.Fatal(err)
			}
			nr[strings.ToLower(strings.TrimPrefix(spec.Names[0].Name, "SYS_"))] = uint32(v)
		}
		return true
	})
	return nr
}

// refused are the calls that fail whatever their arguments are.
func refused() []string {
	return []string{"io_uring_setup", "io_uring_enter", "io_uring_register", "add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd",
		"kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "mount", "umount", "umount2", "pivot_root", "setns",
		"open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "mount_setattr", "open_by_handle_at", "reboot", "clone3"}
}

// vm runs the filter in x/net's BPF machine. That one loads big-endian words
// and the kernel loads seccomp_data in its own order; the data is swapped.
type vm struct {
	*bpf.VM
	audit uint32
}

func machine(t *testing.T, raw []byte, audit uint32) vm {
	t.Helper()
	var prog []bpf.RawInstruction
	for i := 0; i < len(raw); i += 8 {
		prog = append(prog, bpf.RawInstruction{Op: binary.LittleEndian.Uint16(raw[i:]), Jt: raw[i+2], Jf: raw[i+3], K: binary.LittleEndian.Uint32(raw[i+4:])})
	}
	ins, ok := bpf.Disassemble(prog)
	if !ok {
		t.Fatal("the filter does not disassemble")
	}
	m, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	return vm{m, audit}
}

// call returns what the filter says to a system call: 0 or an errno.
func (m vm) call(t *testing.T, nr uint32, args ...uint32) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[offNR:], nr)
	binary.BigEndian.PutUint32(data[offArch:], m.audit)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offArg0+8*i:], a)
	}
	res, err := m.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	switch uint32(res) & 0xffff0000 {
	case retAllow & 0xffff0000:
		return 0
	case retErrno:
		return uint32(res) & 0xffff
	}
	t.Fatalf("the filter returns %#x", res)
	return 0
}

func TestFilter(t *testing.T) {
	names := map[uint32]string{0xc000003e: "amd64", 0xc00000b7: "arm64", 0x40000003: "386", 0x40000028: "arm", 0xc00000f3: "riscv64"}
	if len(arches) != len(names) {
		t.Fatalf("%d architectures, %d names", len(arches), len(names))
	}
	for _, a := range arches {
		for _, unixSockets := range []bool{false, true} {
			t.Run(names[a.audit]+" unix="+strconv.FormatBool(unixSockets), func(t *testing.T) {
				raw, err := filter(unixSockets)
				if err != nil {
					t.Fatal(err)
				}
				if len(raw)%8 != 0 || len(raw)/8 > 4096 { // BPF_MAXINSNS
					t.Fatalf("%d bytes", len(raw))
				}
				judged(t, machine(t, raw, a.audit), numbers(t, names[a.audit]), unixSockets)
			})
		}
	}
}

// judged checks the verdict on every call there is.
func judged(t *testing.T, m vm, nr map[string]uint32, unixSockets bool) {
	const deny, pass = eperm, 0
	for name, n := range nr {
		want := uint32(pass)
		switch {
		case name == "clone3":
			want = enosys
		case slices.Contains(refused(), name):
			want = deny
		case name == "socket": // family 0 is none of those allowed
			want = deny
		case name == "socketpair" && !unixSockets:
			want = deny
		}
		if got := m.call(t, n); got != want {
			t.Errorf("%s: errno %d, want %d", name, got, want)
		}
	}
	unix := uint32(deny)
	if unixSockets {
		unix = pass
	}
	const cloexec = 0x80000
	for _, c := range []struct {
		name string
		want uint32
		args []uint32
	}{
		{"socket", unix, []uint32{afUnix, 1}}, {"socket", unix, []uint32{afUnix, 2 | cloexec}}, {"socket", pass, []uint32{afInet, 1}}, {"socket", pass, []uint32{afInet6, 2}},
		{"socket", pass, []uint32{afNetlink, 3}}, {"socket", deny, []uint32{40, 1}}, {"socket", deny, []uint32{17, 3}}, {"socket", deny, []uint32{38, 5}}, {"socket", deny, []uint32{45, 1}},
		{"socketpair", pass, []uint32{afUnix, 1}}, {"socketpair", pass, []uint32{afUnix, 5 | cloexec}}, {"socketpair", unix, []uint32{afUnix, 2}}, {"socketpair", unix, []uint32{afUnix, 2 | cloexec}}, {"socketpair", unix, []uint32{afUnix, 3}},
		{"clone", pass, []uint32{0x11}}, {"clone", deny, []uint32{0x11 | cloneNewUser}}, {"unshare", pass, []uint32{0x20000}}, {"unshare", deny, []uint32{cloneNewUser}},
		{"ioctl", pass, []uint32{0, 0x5401}}, {"ioctl", deny, []uint32{0, tiocsti}}, {"ioctl", deny, []uint32{0, tioclinux}},
		{"socketcall", deny, []uint32{sysSocket}}, {"socketcall", deny, []uint32{sysSocketPair}}, {"socketcall", pass, []uint32{3}},
	} {
		n, ok := nr[c.name]
		if !ok {
			continue // socketcall is i386's alone
		}
		if got := m.call(t, n, c.args...); got != c.want {
			t.Errorf("%s%x: errno %d, want %d", c.name, c.args, got, c.want)
		}
	}
	if m.audit == 0xc000003e {
		if got := m.call(t, x32Bit|nr["read"]); got != enosys {
			t.Errorf("x32: errno %d", got)
		}
	}
}

// TestFilterUnknownArchitecture: a filter that does not know the machine must
// not stop it.
func TestFilterUnknownArchitecture(t *testing.T) {
	raw, err := filter(false)
	if err != nil {
		t.Fatal(err)
	}
	if got := machine(t, raw, 0x12345678).call(t, 41, afUnix); got != 0 {
		t.Errorf("errno %d", got)
	}
}
