package bowline

import "github.com/bowline-sh/bowline/internal/config"

// Serving is the [serve] table of the configuration.
type Serving = config.Serve

// Person is who may sign in at a server, see [Serving.Person].
type Person = config.Person

// Serving reads the [serve] table as it stands in the file now: who was taken out of it
// cannot sign in any more.
func (c *Client) Serving() (Serving, error) { return c.parts.Serve() }
