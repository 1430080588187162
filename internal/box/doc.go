// Package box makes development containers on the Podman of a target, and only there:
// a box belongs to a person, a host and a git worktree, and holds what runs in it away
// from the laptop.
//
// # A box
//
// is one container, two volumes (the home and /workspace) and nothing else on the
// server. All three have the labels of this package; what has none is never touched.
// Names are unique on a server: NAME is for people, the container is called
// "bowline-NAME".
//
// # Steps
//
// Create goes through steps, each of which knows how to take itself back: volumes,
// container, account, host key, then on this machine the entry for ssh, the git remote and
// the first push. When one fails, it and those before it are taken back in reverse order,
// for it may have been done though its answer was lost. A random label tells what this
// making made, and nothing else is touched, such as a volume that was kept on purpose.
//
// Rebuild makes the new container ready beside the old one, changes names, and removes the
// old one last. At no moment is there no container; only containers whose name is that of
// their box count as boxes.
//
// # Confinement
//
// No new privileges, the capabilities that sshd and package tools need and no others,
// limits on memory, processes and processors, a network stack of its own behind no bridge,
// and no socket of the server.
//
// # Ports
//
// Forward carries connections of this machine into a box over one SSH connection, which
// runs on the streams of a command there. Publish lets sshd of a box listen on a port of
// the server; nothing else ever does.
package box
