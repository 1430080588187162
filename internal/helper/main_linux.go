package helper

import (
	"github.com/bowline-sh/bowline/internal/overlay"
	"github.com/bowline-sh/bowline/internal/sandbox"
)

// Main is the first call of the helper's main: the dry run starts this program
// again under other names, for the parts of it that need namespaces of their own, and as the guard of commands.
// It reports whether that was so, and with which code to exit.
func Main(args []string) (handled bool, code int) {
	if len(args) > 0 && args[0] == actName {
		return true, actMain()
	}
	if sandbox.Watch(args) {
		return true, 0
	}
	return overlay.Main(args)
}
