// Package overlay runs a script against a copy-on-write view of this host and
// turns what it did into the operations of a plan. It is the dry run: nothing it
// does outlives it but the contents in the directory that its caller names.
//
// # Processes
//
//	Run        the caller: host namespaces, runs reading commands
//	stage      first of its own mount, pid, ipc, uts, net and cgroup namespaces;
//	           sees the real tree, lays the view, captures, and
//	           writes contents
//	init       first of a second pid and a second mount namespace, whose root is
//	           the view; the script cannot see the stage
//	launch     drops rights, loads the filter and becomes the script
//	stub       stands where a deferred program stands; tells the stage
//
// All are this executable under other names, see [Main]. The stage dies with the
// thread of Run that started it, and everything in its namespaces with it, so
// nothing stays mounted and nothing stays running, whatever kills whom.
//
// # Invariants
//
//   - Every real mount of the host is in the view, or there is no view.
//   - The script holds no descriptor of a file of the host: its standard streams
//     are pipes.
//   - No operation holds the content of a stub.
//   - Each stretch of changes is in canonical order and starts where the one
//     before it ended.
//
// # Sources
//
// Upper directories are read as the kernel writes them, see
// https://docs.kernel.org/filesystems/overlayfs.html and fs/overlayfs/overlayfs.h.
package overlay
