// Package setup is how a server is made ready for boxes: one shell script, which is
// scripts/setup-server.sh too, and the profile under which it is planned.
package setup

import (
	_ "embed"
	"regexp"
)

// Script is the text of setup-server.sh.
//
//go:embed setup-server.sh
var Script []byte

// Profile says, as a file of profiles does, what the plan of Script defers.
//
//go:embed profile.toml
var Profile []byte

// validUser is what Script takes for a name.
var validUser = regexp.MustCompile(`^[A-Za-z0-9._][A-Za-z0-9._-]*$`)

// ValidUser reports whether Script takes a name of an account.
func ValidUser(name string) bool { return validUser.MatchString(name) }
