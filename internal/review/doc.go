// Package review turns a plan into what a person sees: a header, risks, rows,
// folded groups, totals and diffs. It is pure, and every surface shows what it
// says, so that all show the same. Its texts hold paths and contents of the
// target as they are; the surface neutralises them.
//
// # Cost
//
// [New] compares no contents line by line: it reads the few files whose meaning
// it knows and lists the rest. A diff is made by [Document.Diff] when somebody
// looks at it, in bounded time whatever the size.
//
// # Risks
//
// A risk says why a change deserves a second look, how much, and which line
// shows it. Files are parsed, not only matched by path: a comment in sudoers is
// no risk, a new rule is. What cannot be read is never silent: a file whose
// content is not kept, that is too large or that cannot be parsed is a risk of
// its class that says so. [Classes] lists what is looked at and what none can
// see; docs/risks.md is that list.
//
// Contents come from a target that may lie. Each parser is bounded in bytes,
// lines and findings, and takes any bytes.
//
// # Secrets
//
// Evidence never quotes password hashes or secret values. The diff of a file
// that holds them is marked ([Row.Sensitive]); a surface shows it when asked.
package review
