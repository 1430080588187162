//go:build linux

package overlay

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peerGroups returns the supplementary groups of the process at the other end of
// a socket, sorted.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(4 * len(groups))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch errno {
		case 0:
			groups = groups[:size/4]
			slices.Sort(groups)
			return groups, nil
		case unix.ERANGE: // size is what is needed
			groups = make([]uint32, size/4)
		default:
			return nil, fmt.Errorf("groups of the caller: %w", errno)
		}
	}
}
