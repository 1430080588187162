package helper

import "github.com/bowline-sh/bowline/internal/overlay"

// Main is the first call of the helper's main: the dry run starts this program
// again under other names, for the parts of it that need namespaces of their own.
// It reports whether that was so, and with which code to exit.
func Main(args []string) (handled bool, code int) {
	if len(args) > 0 && args[0] == actName {
		return true, actMain()
	}
	return overlay.Main(args)
}
