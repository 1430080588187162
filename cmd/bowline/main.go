// Command bowline runs things on remote Linux hosts: confined, reviewed, on
// record. See docs/cli.md.
package main

import (
	"cmp"
	"os"
	"runtime/debug"

	"github.com/bowline-sh/bowline/internal/cli"
)

// version is set by the linker for releases.
var version string

func main() {
	os.Exit(cli.Main(cmp.Or(version, buildVersion())))
}

// buildVersion is what "go build" and "go install" know of themselves.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
