// Package testkit holds the real programs that tests talk to: OpenSSH servers
// and agents on loopback with throwaway keys, and accounts to log in to.
//
// Nothing here skips: a program or a right that is missing fails the test. What
// a helper starts, it ends through [testing.TB.Cleanup]. It is for systems with
// processes and accounts as Linux has them.
package testkit
