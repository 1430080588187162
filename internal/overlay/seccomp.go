//go:build linux

package overlay

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// table is one system call table: its AUDIT_ARCH value (linux/audit.h) and the
// numbers of the calls that fail with EPERM, from the kernel's tables of that
// architecture. Calls of the unified range (424 and up) are alike everywhere.
type table struct {
	audit, clone, unshare, ioctl uint32
	denied                       []uint32
	x32                          bool // numbers with bit 30 set are a second table
}

// unified are the calls with the same number everywhere: io_uring_setup, _enter
// and _register, open_tree to fspick, mount_setattr, open_tree_attr.
var unified = []uint32{425, 426, 427, 428, 429, 430, 431, 432, 433, 442, 467}

// Mount calls and setns would let the script out of the view or into another
// namespace, should a capability be left over; open_by_handle_at reaches every
// file of a file system from any descriptor on it and needs only
// CAP_DAC_READ_SEARCH, which the script keeps; the rest changes the kernel or the
// clock, not files.
var tables = []table{
	{ // x86_64: arch/x86/entry/syscalls/syscall_64.tbl
		audit: 0xc000003e, clone: 56, unshare: 272, ioctl: 16, x32: true,
		denied: []uint32{
			165, 166, 155, 308, 304, // mount, umount2, pivot_root, setns, open_by_handle_at
			246, 320, 175, 313, 176, // kexec_load, kexec_file_load, init_module, finit_module, delete_module
			248, 249, 250, 321, 298, 323, // add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd
			169, 167, 168, 163, // reboot, swapon, swapoff, acct
			164, 227, 159, 305, // settimeofday, clock_settime, adjtimex, clock_adjtime
			172, 173, 179, 103, // iopl, ioperm, quotactl, syslog
		},
	},
	{ // aarch64: include/uapi/asm-generic/unistd.h
		audit: 0xc00000b7, clone: 220, unshare: 97, ioctl: 29,
		denied: []uint32{
			40, 39, 41, 268, 265, 104, 294, 105, 273, 106, 217, 218, 219, 280, 241, 282,
			142, 224, 225, 89, 170, 112, 171, 266, 60, 116,
		},
	},
	{ // arm, also under an aarch64 kernel: arch/arm/tools/syscall.tbl
		audit: 0x40000028, clone: 120, unshare: 337, ioctl: 54,
		denied: []uint32{
			21, 52, 218, 375, 371, 347, 401, 128, 379, 129, 309, 310, 311, 386, 364, 388,
			88, 87, 115, 51, 79, 262, 124, 372, 131, 103, 404, 405,
		},
	},
	{ // i386: arch/x86/entry/syscalls/syscall_32.tbl
		audit: 0x40000003, clone: 120, unshare: 310, ioctl: 54,
		denied: []uint32{
			21, 22, 52, 217, 346, 342, 283, 128, 350, 129, 286, 287, 288, 357, 336, 374,
			88, 87, 115, 51, 79, 25, 264, 124, 343, 110, 101, 131, 103, 404, 405,
		},
	},
}

// Constants of the kernel's user interface.
const (
	cloneNewUser = 0x10000000 // linux/sched.h
	clone3NR     = 435
	x32Bit       = 0x40000000 // asm/unistd.h, __X32_SYSCALL_BIT
	tiocsti      = 0x5412     // asm-generic/ioctls.h: types into the terminal of the caller
	tioclinux    = 0x541c
	offNR        = 0 // struct seccomp_data
	offArch      = 4
	offArg0      = 16 // low half, little-endian
	offArg1      = 24
)

func load(off uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
}

func jump(op uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func ret(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }

func deny(errno unix.Errno) unix.SockFilter { return ret(unix.SECCOMP_RET_ERRNO | uint32(errno)) }

// filter returns the program for seccomp(2). On an architecture it does not know
// every call fails.
func filter() []unix.SockFilter {
	prog := []unix.SockFilter{load(offArch)}
	for _, t := range tables {
		body := t.program()
		prog = append(prog, jump(unix.BPF_JEQ, t.audit, 0, uint8(len(body))))
		prog = append(prog, body...)
	}
	return append(prog, deny(unix.EPERM))
}

// program is the section of one architecture; every path through it returns.
func (t table) program() []unix.SockFilter {
	p := []unix.SockFilter{load(offNR)}
	if t.x32 {
		p = append(p, jump(unix.BPF_JGE, x32Bit, 0, 1), deny(unix.ENOSYS))
	}
	for _, nr := range append(unified, t.denied...) {
		p = append(p, jump(unix.BPF_JEQ, nr, 0, 1), deny(unix.EPERM))
	}
	// clone3 takes its flags in memory, which a filter cannot read. ENOSYS makes
	// libc fall back to clone.
	p = append(p, jump(unix.BPF_JEQ, clone3NR, 0, 1), deny(unix.ENOSYS))
	for _, nr := range []uint32{t.clone, t.unshare} {
		p = append(p, jump(unix.BPF_JEQ, nr, 0, 4), load(offArg0),
			jump(unix.BPF_JSET, cloneNewUser, 0, 1), deny(unix.EPERM), ret(unix.SECCOMP_RET_ALLOW))
	}
	return append(p, jump(unix.BPF_JEQ, t.ioctl, 0, 5), load(offArg1),
		jump(unix.BPF_JEQ, tiocsti, 1, 0), jump(unix.BPF_JEQ, tioclinux, 0, 1), deny(unix.EPERM),
		ret(unix.SECCOMP_RET_ALLOW), ret(unix.SECCOMP_RET_ALLOW))
}

// confine loads the filter on the calling thread. It needs CAP_SYS_ADMIN: with
// no_new_privs instead, setuid programs would not work as they do in earnest.
func confine() error {
	prog := filter()
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return fmt.Errorf("load the system call filter: %w", errno)
	}
	return nil
}
