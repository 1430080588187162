// Package audit keeps the audit log: one hash-chained, append-only record of
// what Bowline was asked to do, written before it is done, and of what came of
// it. It decides nothing; callers that cannot record must not act.
//
// # Format, version 1
//
// Entries are lines of JSON in DIR/audit.jsonl. When that file would pass its
// size limit it becomes DIR/audit-NNNNNN.jsonl, numbered from 000001, and a new
// one is begun; the chain goes on across the segments. DIR/audit.lock is what
// writers lock. A line ends with exactly
//
//	,"hash":"<64 lower-case hex digits>"}
//
// and a newline. The hash is SHA-256 over the bytes of the line before those 75
// ("the canonical form"). The member "prev" before it is the hash of the entry
// before, 64 zeros for the first; "seq" counts from 1 without gaps. So anyone
// can check an entry:
//
//	sed -n 7p audit.jsonl | sed 's/,"hash":"[0-9a-f]*"}$//' | tr -d '\n' | sha256sum
//
// Readers ignore members they do not know, so members may be added. A change
// of meaning raises "v".
//
// Strings hold no control characters and none that repaint a terminal: they
// are JSON escapes, so nothing in a field can end a line or forge an entry.
//
// # The head
//
// DIR/head.json (or a file configured elsewhere) repeats seq and hash of the
// last entry, so that a cut tail is found. It is 512 bytes, overwritten in
// place after each append: one sector, whose old or new content survives.
// It is not synced for every entry. Order of events in an append, under the
// lock: write the entry, fsync it, write the head.
//
//   - A writer killed between the two leaves a log that is ahead of its head.
//     That is no tampering, as the entries ahead chain to the head; the next
//     writer brings the head forward and adds a note that says so.
//   - A power cut may take the head back by as many entries as the kernel had
//     not yet written out (about 30 s on Linux, /proc/sys/vm/dirty_expire_centisecs),
//     never the entries, which were synced. The same holds. What is lost for
//     that time is only that a cut of just those entries would not be noticed.
//   - A head that is ahead of the log cannot come about by a crash. It is
//     tampering, as is a missing head beside entries; writers then refuse.
//   - A line without its newline at the end is an append that a crash cut
//     short, and was never acknowledged. The next writer replaces it by a
//     note that holds its size, digest and beginning.
//
// # What the chain does not show
//
// Whoever may write both the log and the head can rewrite everything. Keep the
// head, or exports of the log, where the account cannot write.
//
// # Lock order
//
// Log.turn, then the file lock, then Log.mu.
package audit
