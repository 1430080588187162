// Package sandbox turns a profile into a bubblewrap confinement and runs one
// command in it, on any transport, with nothing on the target but a POSIX sh
// and bwrap.
//
// # How a command reaches its sandbox
//
// The login shell of the account is given one fixed line, the same for every
// run: exec /bin/sh -c 'BOOT' bowline MODE. It holds no quote, backslash in
// quotes, newline or "!" (but in "$!;") that any login shell could read in its
// own way. What
// is particular to the run follows on standard input as six lines:
//
//	nonce     marks, on both output streams, where noise of the login ends;
//	          and a mark for bubblewrap's arguments, by which a run is found
//	filter    seccomp filter as printf octals; may be empty
//	env       sh text that prints the options that set the environment
//	options   sh text that collects all other options of bubblewrap
//	limits    sh text that sets limits
//	command   sh words: the argument vector
//
// The environment goes to bubblewrap through a descriptor (--args), so its
// values never stand in a process list. Everything that confines goes through
// the argument vector of one shell, which becomes bubblewrap or nothing: a
// stream could end early and leave the last masks out. The status report
// (--json-status-fd) tells whether the command was executed at all; it comes
// back behind the nonce at the end of standard error. A command inside cannot
// forge it: it never sees the nonce.
//
// # Ending
//
// BOOT tells its process group, usually its own. Killing that group kills
// bubblewrap, and with it (--die-with-parent) every process of the sandbox. What
// bubblewrap leaves behind when it is killed while it starts has the mark.
// Without --stdin, BOOT also keeps a reader on its standard input, which kills
// the group when the link drops; with --stdin it looks every second whether its
// parent, the link's end on the target, still lives, and keeps the deadline.
//
// # Without a shell
//
// In a process on the target that lives as long as the link, the helper, [Native]
// does all this with one fork of bubblewrap: the same options, resolved in Go, the
// same limits and the same end. What a command sees and what its caller is told
// does not tell the two apart; tests compare them.
//
// # What the argument order means
//
// bubblewrap mounts in the order of its arguments, so mounts are sorted by path
// and a deeper path covers a shallower one.
package sandbox
