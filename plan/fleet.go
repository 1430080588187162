package plan

import (
	"fmt"
	"strings"
)

// A plan made on many targets at once is a fleet: one session a target. Its id looks like
// that of a session, but with FleetDigits random digits where a session has four, so that
// no session is ever called as a fleet is:
//
//	20261121-fix-nginx-a3f20c          the fleet
//	20261121-fix-nginx-a3f20c-0001     the session of its first target
//	20261121-fix-nginx-a3f20c.9e1b77   the class of those with one effect
//
// A class is named by the first digits of its effect, and so means the same sessions
// whatever becomes of the others.

// FleetDigits is how many random hex digits the id of a fleet ends with.
const FleetDigits = 6

// classDigits is how many digits of an effect name a class.
const classDigits = 6

// isClass reports whether s may stand after the dot: no less than four digits, so that
// nobody means a class by accident.
func isClass(s string) bool { return len(s) >= 4 && len(s) <= 64 && consists(s, hexits) }

// MemberID is the id of the session of a fleet's target n, from 1.
func MemberID(fleet string, n int) string { return fmt.Sprintf("%s-%04x", fleet, n) }

// ClassID names the class of an effect within a fleet.
func ClassID(fleet, effect string) string {
	digits := strings.TrimPrefix(effect, "sha256:")
	return fleet + "." + digits[:min(len(digits), classDigits)]
}

// ParseFleetID takes the id of a fleet or class apart. prefix is the beginning of the
// effect's digits, "" for a whole fleet.
func ParseFleetID(id string) (fleet, prefix string, err error) {
	fleet, prefix, dot := strings.Cut(id, ".")
	if ValidID(fleet) != nil || dot && !isClass(prefix) {
		return "", "", fmt.Errorf("%q is no id: they look like 20261121-fix-nginx-a3f2, of a fleet 20261121-fix-nginx-a3f20c, of a class 20261121-fix-nginx-a3f20c.9e1b77", id)
	}
	return fleet, prefix, nil
}

// InClass reports whether an effect is the one that prefix, from [ParseFleetID], means.
func InClass(effect, prefix string) bool {
	return strings.HasPrefix(strings.TrimPrefix(effect, "sha256:"), prefix)
}
