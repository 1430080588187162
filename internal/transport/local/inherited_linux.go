package local

import (
	"math"

	"golang.org/x/sys/unix"
)

// sealInherited keeps descriptors that this process inherited without
// close-on-exec from reaching the command; Go marks its own. On kernels before
// 5.11, which lack CLOSE_RANGE_CLOEXEC (close_range(2)), it does nothing, and
// what the caller leaked stays leaked.
func sealInherited() {
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}
