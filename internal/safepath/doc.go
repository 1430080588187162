// Package safepath acts on a file tree below a directory handle that no symbolic
// link can lead away from. It knows one path at a time; what to do with which
// path, and in what order, is for package apply.
//
// # Invariants
//
//   - A directory is reached with openat2 and RESOLVE_BENEATH, NO_SYMLINKS and
//     NO_MAGICLINKS (openat2(2), Linux 5.6): if any component became a symbolic
//     link since the plan, the call fails with [ErrSymlink]. Plans hold canonical
//     paths, so a link in the middle is always somebody's change.
//   - The last component is never followed. What is done to an inode is done
//     through an O_PATH handle that pins it, by way of /proc/self/fd, which works
//     for every type of file (open(2), O_PATH).
//   - A path is any bytes but NUL; a name has no slash and is not "." or "..".
//
// Linux only. A [Root] may be used by several goroutines; a [Dir] and a [Node]
// belong to one and are closed by whoever got them.
package safepath
