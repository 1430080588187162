// Package recipe reads what a worktree says of its box: a Containerfile, or a
// devcontainer.json (containers.dev), and makes the archive that an image is built of.
// It does no more than read files below one directory.
//
// # What a devcontainer.json may say
//
// image; build.dockerfile, context, args and target; remoteUser; containerEnv and
// remoteEnv; mounts of volumes; postCreateCommand; forwardPorts. All else is left out,
// and each thing that is left out has a sentence in [Recipe.Notes]. Above all that is
// what reaches for the machine it was written on, bind mounts and ${localEnv:...}: boxes
// are elsewhere, and are not to know that machine.
//
// # The archive
//
// A tar of the context as it is: regular files, directories, and symbolic links as links.
// Nothing is read through a link that leads out of the directory, because everything is
// opened through a handle of it. What .containerignore or else .dockerignore name stays
// here, as Docker does it.
package recipe
