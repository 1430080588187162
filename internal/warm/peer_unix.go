//go:build unix

package warm

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// samePeer refuses a peer of another user.
func samePeer(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("not a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var uid int
	var uerr error
	if err := raw.Control(func(fd uintptr) { uid, uerr = peerUID(int(fd)) }); err != nil {
		return err
	}
	if uerr == nil && uid != os.Geteuid() {
		uerr = fmt.Errorf("the other end belongs to uid %d", uid)
	}
	return uerr
}
