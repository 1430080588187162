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
// Create goes through steps, each of which knows how to take itself back. When one
// fails, those before it are taken back in reverse order, and nothing that was there
// before is touched, such as a volume that was kept on purpose.
//
// # Confinement
//
// No new privileges, the capabilities that sshd and package tools need and no others,
// limits on memory, processes and processors, its own network, and no socket of the
// server.
package box
