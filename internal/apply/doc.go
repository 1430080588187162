// Package apply carries out an approved plan on the target, takes it back, and
// finishes either after it was broken off. It acts on two trees: the host, below a
// root handle, and the session directory. It knows no link, no client and no
// terminal; it decides nothing that a person has not approved.
//
// # Session directory
//
// Named by the session's ID, 0700, owned by whoever runs this; files are 0600.
//
//	plan.json       the plan; its digest is in session.json and in the approval
//	approval.json   the decision of a person
//	session.json    status, digests, times, who; sealed with a digest over itself
//	layer/SHA256    contents the plan needs, named by their digests
//	checkpoint/     originals, see package checkpoint
//	journal         what was done, see package journal
//	outputs/        N.out and N.err of the deferred command that is operation N,
//	                undo-N.out and undo-N.err of what took it back
//	lock            held by whoever acts on the session
//
// Beside the session directories stands used-approvals, one line per approval that
// was ever used. It is append-only, so that a copy of a session directory, or an
// older version of it, cannot apply again.
//
// # Order
//
// Apply checks the seal of session.json, the plan against its digest, the approval
// and its expiry, all contents, and the base state of every path of all stretches;
// seals a checkpoint; notes the approval as used; and only then acts. Each stretch
// of changes is staged first: every new file is written under a temporary name in
// its directory (or, where that does not exist yet, in the nearest one above) and
// everything staged is synced at once, so that a full disk is found before anything
// is changed or deleted. Then one operation at a time is put in place by rename.
//
// What a path may look like at any moment follows from the checkpoint, the plan and
// the journal: the state before, or, in a stretch that was begun, the state after.
// Resume and Rollback look which one it is; no record per operation needs to reach
// the disk before the operation. Where an operation has states in between (content
// written into an existing inode), a durable record precedes it.
//
// # Rules
//
//   - A path in any other state was changed by somebody else. Before the first
//     effect that is a conflict and nothing is touched; later it stops the session
//     as partial.
//   - An approval expires for Apply. Resume finishes what was begun in time and does
//     not ask for a new one.
//   - A deferred command succeeds with exit code 0, or with the one that the dry run
//     answered. One that failed is run again by Resume; one whose end is unknown only
//     if Resume is told to, and rollback takes it as run.
//   - Times: After.MTime is set exactly; 0 is the time of applying for new content
//     and no change for metadata. Rollback restores the times of everything touched
//     and of parent directories. Access times are left alone.
//   - Rollback gives a file that had hard links the same inode again if any link of
//     it is left, wherever (this needs root; otherwise only among touched paths).
//   - A deletion of a directory lists everything in it. Anything else in it is a
//     conflict.
//
// Linux only. A Session belongs to one goroutine; the lock excludes others.
package apply
