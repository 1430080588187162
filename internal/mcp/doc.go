// Package mcp gives AI agents hands on real hosts without the keys: a Model Context
// Protocol server whose tools look inside the sandbox, propose changes as plans, and
// apply what a person approved elsewhere. It calls the root package alone, so a model
// can do nothing that the command line cannot, and the same gate judges both.
//
// # What a model cannot do here
//
//   - approve: no tool does, and the engine refuses an approval of the surface "mcp";
//   - leave its selector, use a profile that was not offered, or see sessions that
//     another client made;
//   - read or write local files outside of the directories it was given.
//
// # Text of hosts
//
// Output of commands, files and diffs are data of strangers. They are bounded, control
// characters are made visible, secrets masked, and they stand between marks that name
// where they come from and hold a nonce that they cannot know.
//
// # Revisions
//
// One HTTP endpoint serves the revisions up to 2025-11-25, which have sessions, and
// 2026-07-28, which has none; the header Mcp-Protocol-Version tells them apart.
package mcp
