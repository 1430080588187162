// Package transfer copies files and trees between two sides and says of every
// file whether what arrived is what was read. It knows no link, no target and no
// terminal: its two halves, [Send] and [Receive], talk over a pair of byte streams
// and each acts on one [FS]. The same code runs in the client and in the helper on
// a target; package agentless is an FS over SFTP for targets without a helper.
//
// # On the wire
//
// Records: type (1 byte), length of the payload (4 bytes, big-endian), payload.
// The sending half writes, for every file,
//
//	E  an [Entry], JSON
//	D  bytes of its content
//	Z  a count of zero bytes, 8 bytes big-endian: a hole
//	C  offset and count, 8 bytes each: these bytes are in place already
//	O  offset and count, 8 bytes each: take these bytes from the older version
//	F  the SHA-256 of the whole, then "" or why it cannot be used
//
// and S when there is nothing more. The receiving half answers
//
//	B  what is there already, JSON, if the entry asked
//	R  a [Result], JSON, for every entry, in any order
//	S  when everything is durable
//
// # Order
//
// Content goes to a temporary name in the directory where it is to stand, made
// with O_EXCL and 0600, and is hashed on both sides. Temporaries are made durable,
// one by one or, where there are many, with one syncfs for all; then they are
// renamed, and the directories synced. So a name shows the old file or the whole
// new one, and after a crash too. A Result is sent only after all that.
//
// # Rules
//
//   - A directory below the destination is entered only if it is one: symbolic
//     links there are replaced, or in the way, never followed.
//   - The receiving half accepts names that its caller expects and no others.
//   - A file whose size, times or inode changed while it was read is not put in
//     place.
//   - Without resuming, nothing is left of a transfer that was broken off. With it,
//     what arrived stays under a name made of the file's name, size, time and
//     identity, and the next transfer of the same file goes on from there.
package transfer
