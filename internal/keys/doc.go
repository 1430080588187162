// Package keys looks after the keys that log in to targets: it lists them with their
// age, makes new ones, exchanges the key of a target for a new one, and takes old keys
// out of accounts.
//
// # The order of a rotation
//
//  1. The intent is in the audit log, and a note of the rotation on this disk.
//  2. A new key is made, or taken from the caller.
//  3. Its line is added to the account's authorized_keys, with the options of the line
//     of the key in use.
//  4. A new connection logs in with the new key and nothing else.
//  5. The target's key_file in the configuration becomes the new key.
//  6. The old line is taken out, over the connection of step 4, and another connection
//     logs in with the new key alone.
//
// # Invariants
//
//   - The old line goes only when a login with the new key was seen, and the
//     configuration names the new key.
//   - Where the new key is not accepted, its line is taken back; the key in use still
//     works.
//   - Killed anywhere, the same call goes on: every step finds out whether it was done.
//
// authorized_keys is edited over SFTP, below the directory where sshd starts it: the
// account's home. It is read by name, replaced by a synced temporary in one rename, and
// kept from other clients of ours by a lock file beside it. Symbolic links there, and
// files of other accounts, are refused.
package keys
