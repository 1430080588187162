//go:build !unix

package cli

import (
	"os"

	"github.com/bowline-sh/bowline"
)

// terminalSizes sends the size of a terminal once: this system has no signal for changes.
func terminalSizes(f *os.File) (sizes <-chan bowline.TerminalSize, stop func()) {
	out := make(chan bowline.TerminalSize, 1)
	out <- sizeOf(f)
	return out, func() {}
}
