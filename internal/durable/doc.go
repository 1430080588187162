// Package durable replaces files so that a crash leaves the old content or the
// new one, and takes advisory locks between processes.
//
// # What WriteFile promises
//
// When [WriteFile] returns nil, the new content is under its name and survives
// a power cut. When it returns an error, the file has its old content, with
// one exception: an error wrapping [ErrNotSynced] means that the new content
// is in place and visible, but a power cut may still bring the old one back.
// A reader, or a crash at any moment, sees one or the other, never a mixture.
//
// What is given up: the new file has a new inode, so hard links to the old one
// keep the old content, and extended attributes and ACLs are not carried over.
// The owner becomes the caller. A crash may leave a file named ".NAME.*.tmp"
// beside the target; it holds nothing that is needed.
//
// # Sources
//
// The sequence write, fsync, rename, fsync of the directory is the one that
// T. Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), find
// safe on all file systems they examined. That rename replaces atomically is
// POSIX.1-2024 rename(); that a new directory entry needs a sync of its own is
// fsync(2), DESCRIPTION. On macOS (*os.File).Sync issues F_FULLFSYNC. Windows
// has no directory sync; NTFS journals the rename.
package durable
