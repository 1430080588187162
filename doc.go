// Package bowline runs things on remote Linux hosts, for people and for AI
// agents, so that nothing changes unreviewed, everything is on record, and
// every change can be undone.
//
// A [Client] is the only door to all of it: the command line, the MCP server
// and the web page call the same methods, so none of them can do what another
// cannot, and every rule is checked below them, once.
//
//	c, err := bowline.Open(ctx, bowline.Config{})
//	if err != nil { ... }
//	defer c.Close()
//	res, err := c.Run(ctx, bowline.RunRequest{Target: "web1", Argv: []string{"uptime"}})
//
// # Errors
//
// A command that ran and failed is a result, not an error. Errors are
// [*diag.Error] where something is known about the state of the target: its
// Kind says what ran, its Hint what to type next.
//
// # Files
//
// Configuration is read from $XDG_CONFIG_HOME/bowline, the audit log written to
// $XDG_STATE_HOME/bowline/audit; docs/design.md lists them all.
package bowline
