//go:build !unix

package cli

import "os/exec"

// detach has nothing to do: links are kept on Unix only.
func detach(*exec.Cmd) {}
