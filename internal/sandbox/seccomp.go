package sandbox

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/bowline-sh/bowline/profile"
)

// filterFD is the descriptor bubblewrap reads the seccomp filter from.
const filterFD = 7

// filterOf returns the filter of p in the byte order of the kernel, or nil.
func filterOf(p profile.Profile) []byte {
	if p.SeccompProfile != nil {
		return p.SeccompProfile
	}
	f, err := filter(p.UnixSockets)
	if err != nil {
		panic("sandbox: " + err.Error()) // the program is a constant
	}
	return f
}

// arch is one system call table: its AUDIT_ARCH value (linux/audit.h) and the
// numbers of the calls we refuse, from the kernel's tables of that
// architecture. Calls of the unified range (424 and up) are alike everywhere.
type arch struct {
	audit      uint32
	socket     uint32 // socket(2); refused but for the families in [families]
	socketpair uint32 // socketpair(2); refused for datagrams
	socketcall uint32 // socketcall(2), where there is one
	clone      uint32 // clone(2); refused with CLONE_NEWUSER
	unshare    uint32 // unshare(2); refused with CLONE_NEWUSER
	ioctl      uint32 // ioctl(2); refused for TIOCSTI and TIOCLINUX
	denied     []uint32
	x32        bool // numbers with bit 30 set are a second table
}

// Why each call is refused: a socket of a family that network namespaces do not
// confine reaches out of the sandbox (AF_UNIX; AF_VSOCK goes to the hypervisor,
// vsock(7)), and others are kernel surface; a datagram socket of a pair can
// still be connected to any path (unix_dgram_connect, net/unix/af_unix.c), a
// stream socket cannot; io_uring can open sockets past this filter; keyrings, bpf, perf, userfaultfd, kexec and modules are kernel surface no
// reading command needs; mount calls and setns are of no use without
// capabilities, and a new user namespace, which would give them back, is
// refused; ptrace and process_vm_* stay within the pid namespace and are
// allowed.
var arches = []arch{
	{ // x86_64: arch/x86/entry/syscalls/syscall_64.tbl
		audit: 0xc000003e, socket: 41, socketpair: 53, clone: 56, unshare: 272, ioctl: 16, x32: true,
		denied: []uint32{
			425, 426, 427, // io_uring_setup, _enter, _register
			248, 249, 250, // add_key, request_key, keyctl
			321, 298, 323, // bpf, perf_event_open, userfaultfd
			246, 320, // kexec_load, kexec_file_load
			175, 313, 176, // init_module, finit_module, delete_module
			165, 166, 155, 308, // mount, umount2, pivot_root, setns
			428, 429, 430, 431, 432, 442, // open_tree .. fsmount, mount_setattr
			304, 169, // open_by_handle_at, reboot
		},
	},
	{ // aarch64: include/uapi/asm-generic/unistd.h
		audit: 0xc00000b7, socket: 198, socketpair: 199, clone: 220, unshare: 97, ioctl: 29,
		denied: []uint32{
			425, 426, 427, 217, 218, 219, 280, 241, 282, 104, 294, 105, 273, 106,
			40, 39, 41, 268, 428, 429, 430, 431, 432, 442, 265, 142,
		},
	},
	{ // riscv64: the same table as aarch64
		audit: 0xc00000f3, socket: 198, socketpair: 199, clone: 220, unshare: 97, ioctl: 29,
		denied: []uint32{
			425, 426, 427, 217, 218, 219, 280, 241, 282, 104, 294, 105, 273, 106,
			40, 39, 41, 268, 428, 429, 430, 431, 432, 442, 265, 142,
		},
	},
	{ // arm, also under an aarch64 kernel: arch/arm/tools/syscall.tbl
		audit: 0x40000028, socket: 281, socketpair: 288, clone: 120, unshare: 337, ioctl: 54,
		denied: []uint32{
			425, 426, 427, 309, 310, 311, 386, 364, 388, 347, 401, 128, 379, 129,
			21, 52, 218, 375, 428, 429, 430, 431, 432, 442, 371, 88,
		},
	},
	{ // i386: arch/x86/entry/syscalls/syscall_32.tbl
		audit: 0x40000003, socket: 359, socketpair: 360, clone: 120, unshare: 310, ioctl: 54, socketcall: 102,
		denied: []uint32{
			425, 426, 427, 286, 287, 288, 357, 336, 374, 283, 128, 350, 129,
			21, 22, 52, 217, 346, 428, 429, 430, 431, 432, 442, 342, 88,
		},
	},
}

// Constants of the kernel's user interface.
const (
	afUnix        = 1 // linux/socket.h
	afInet        = 2
	afInet6       = 10
	afNetlink     = 16
	sockStream    = 1 // linux/net.h
	sockSeqPkt    = 5
	sockTypeMask  = 0xf
	sysSocket     = 1
	sysSocketPair = 8
	cloneNewUser  = 0x10000000 // linux/sched.h
	clone3NR      = 435        // the same on every architecture
	x32Bit        = 0x40000000 // asm/unistd.h, __X32_SYSCALL_BIT
	tiocsti       = 0x5412     // asm-generic/ioctls.h
	tioclinux     = 0x541c

	retAllow = 0x7fff0000 // linux/seccomp.h
	retErrno = 0x00050000 // | errno
	eperm    = 1
	enosys   = 38

	offNR   = 0 // struct seccomp_data
	offArch = 4
	offArg0 = 16 // low half, little-endian
	offArg1 = 24
)

// filter assembles a classic BPF program for seccomp(2) that knows every
// architecture of arches by itself, so it can be made before the target's is
// known. On an architecture it does not know, everything is allowed: the mounts
// and namespaces still hold. Bytes are little-endian, as all its architectures
// are.
func filter(unixSockets bool) ([]byte, error) {
	prog := []bpf.Instruction{bpf.LoadAbsolute{Off: offArch, Size: 4}}
	for _, a := range arches {
		body := a.program(unixSockets)
		if len(body) > 255 {
			return nil, fmt.Errorf("seccomp filter: section of %d instructions does not fit a jump", len(body))
		}
		prog = append(prog, bpf.JumpIf{Cond: bpf.JumpEqual, Val: a.audit, SkipFalse: uint8(len(body))})
		prog = append(prog, body...)
	}
	prog = append(prog, bpf.RetConstant{Val: retAllow})
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return nil, fmt.Errorf("seccomp filter: %w", err)
	}
	out := make([]byte, 0, 8*len(raw))
	for _, ins := range raw {
		out = binary.LittleEndian.AppendUint16(out, ins.Op)
		out = append(out, ins.Jt, ins.Jf)
		out = binary.LittleEndian.AppendUint32(out, ins.K)
	}
	return out, nil
}

// program is the section of one architecture; every path through it returns.
func (a arch) program(unixSockets bool) []bpf.Instruction {
	p := []bpf.Instruction{bpf.LoadAbsolute{Off: offNR, Size: 4}}
	if a.x32 {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: x32Bit, SkipFalse: 1}, fail(enosys))
	}
	for _, nr := range a.denied {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipFalse: 1}, fail(eperm))
	}
	// clone3 takes its flags in memory, which a filter cannot read. ENOSYS
	// makes libc fall back to clone.
	p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: clone3NR, SkipFalse: 1}, fail(enosys))
	newUser := bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: cloneNewUser, SkipFalse: 1}
	p = append(p, refuse(a.clone, offArg0, newUser)...)
	p = append(p, refuse(a.unshare, offArg0, newUser)...)
	p = append(p, refuse(a.ioctl, offArg1,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: tiocsti, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: tioclinux, SkipFalse: 1})...)
	p = append(p, only(a.socket, offArg0, 0xffffffff, families(unixSockets))...)
	if !unixSockets {
		p = append(p, only(a.socketpair, offArg1, sockTypeMask, []uint32{sockStream, sockSeqPkt})...)
	}
	if a.socketcall != 0 {
		// socketcall(2) hides its arguments in memory: these two are refused whole.
		p = append(p, refuse(a.socketcall, offArg0,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: sysSocket, SkipTrue: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: sysSocketPair, SkipFalse: 1})...)
	}
	return append(p, bpf.RetConstant{Val: retAllow})
}

// families are the address families of socket(2) that the sandbox confines.
func families(unixSockets bool) []uint32 {
	f := []uint32{afInet, afInet6, afNetlink}
	if unixSockets {
		f = append(f, afUnix)
	}
	return f
}

// only fails call nr with EPERM unless the low half of the argument at off,
// under mask, is one of values.
func only(nr, off, mask uint32, values []uint32) []bpf.Instruction {
	p := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipFalse: uint8(len(values) + 4)},
		bpf.LoadAbsolute{Off: off, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
	}
	for i, v := range values {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - i)})
	}
	return append(p, fail(eperm), bpf.RetConstant{Val: retAllow})
}

// refuse fails call nr with EPERM if the low half of the argument at off passes
// tests, of which the last one skips one instruction when false; else the call
// is allowed.
func refuse(nr, off uint32, tests ...bpf.JumpIf) []bpf.Instruction {
	p := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipFalse: uint8(len(tests) + 3)},
		bpf.LoadAbsolute{Off: off, Size: 4},
	}
	for _, t := range tests {
		p = append(p, t)
	}
	return append(p, fail(eperm), bpf.RetConstant{Val: retAllow})
}

func fail(errno uint32) bpf.Instruction { return bpf.RetConstant{Val: retErrno | errno} }
