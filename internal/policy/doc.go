// Package policy decides who may do what, and what a plan must have before it is
// applied. It is pure: it reads no file, asks no clock and keeps no state. Package
// gate asks it on behalf of every surface.
//
// # Rules of acts
//
// A [Rule] names callers, verbs, targets, profiles and commands, and allows, denies or
// asks. The first rule that matches decides, as in a firewall; where none matches the
// act is allowed, and the checks that are always there (profile, approval, transfer
// rules) remain.
//
// # Commands
//
// Commands are judged by parsing, never by substring. [Commands] sees through
// wrappers, shells, chains, substitutions and functions, and says what it could not
// see. What is not seen is treated as the worst for whoever asks: a rule that allows
// does not cover it, a rule that denies does.
//
// This is advice about intent. The walls are the sandbox, and that a change is
// captured and reviewed.
//
// # Rules of effects
//
// An [EffectRule] looks at what a plan does: paths, deletions, setuid bits, packages,
// users, units, commands, classes of risks. The strictest rule that matches wins. A
// rule that approves by itself must cover everything in the plan; one that restricts
// matches where it finds one thing of each kind it names.
package policy
