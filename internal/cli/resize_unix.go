//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/bowline-sh/bowline"
)

// terminalSizes sends the size of a terminal, now and whenever it changes, until stop.
func terminalSizes(f *os.File) (sizes <-chan bowline.TerminalSize, stop func()) {
	changed, over := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(changed, syscall.SIGWINCH)
	out := make(chan bowline.TerminalSize)
	go func() {
		for {
			select {
			case out <- sizeOf(f):
			case <-over:
				return
			}
			select {
			case <-changed:
			case <-over:
				return
			}
		}
	}()
	return out, func() { signal.Stop(changed); close(over) }
}
