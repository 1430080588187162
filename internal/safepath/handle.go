//go:build linux

package safepath

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Handle names an inode of the file system for as long as it has any link
// (name_to_handle_at(2)), so that another name can be given to it again. It is ""
// where the file system has no handles.
func (n *Node) Handle() string {
	h, _, err := unix.NameToHandleAt(n.fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return ""
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(h.Type()))
	return base64.StdEncoding.EncodeToString(append(b, h.Bytes()...))
}

// ByHandle opens an inode on the file system of d. It needs CAP_DAC_READ_SEARCH.
func (d *Dir) ByHandle(handle string) (*Node, error) {
	b, err := base64.StdEncoding.DecodeString(handle)
	if err != nil || len(b) < 5 {
		return nil, fmt.Errorf("file handle %q is malformed", handle)
	}
	f, err := d.real()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.OpenByHandleAt(int(f.Fd()), unix.NewFileHandle(int32(binary.LittleEndian.Uint32(b)), b[4:]), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return nil, d.wrap("open by handle in", "", err)
	}
	return &Node{fd, d.path + "/(by handle)"}, nil
}

// LinkTo makes name in to a hard link to the inode. Through an O_PATH handle that
// needs CAP_DAC_READ_SEARCH, so it goes by way of /proc (linkat(2)).
func (n *Node) LinkTo(to *Dir, name string) error {
	return to.do("link", name, func() error {
		return unix.Linkat(unix.AT_FDCWD, n.proc(), to.fd, name, unix.AT_SYMLINK_FOLLOW)
	})
}
