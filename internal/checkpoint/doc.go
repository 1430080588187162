// Package checkpoint keeps the originals of everything a plan touches, sealed, so
// that they can be brought back exactly. What to bring back, and in what order, is
// for package apply.
//
// A checkpoint is a directory: one file per distinct content, named by its SHA-256,
// and manifest.json with the state of every path: also of those that were absent,
// and of all parents, whose times change. There is no limit of size or number;
// a disk that cannot hold it makes Create fail, and then nothing was touched.
//
// The seal is the SHA-256 of the manifest, which the caller notes in the session
// and in the journal. Contents are named in the manifest. Any edit is found by
// [Open] and [Verify].
//
// Linux only.
package checkpoint
