//go:build unix

package warm

import (
	"io/fs"
	"syscall"
)

// ownerOf is the uid of a file, or -1.
func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
