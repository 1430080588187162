package cli

import (
	"context"
	"fmt"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// published reads --publish.
func published(text string) (bool, error) {
	switch text {
	case "none":
		return false, nil
	case "server":
		return true, nil
	}
	return false, diag.New(diag.Usage, "read --publish", "write 'none' or 'server'", "%q is neither", text)
}

// direct is the line by which any ssh reaches a box that is published.
func direct(ctx context.Context, c *bowline.Client, b bowline.Box) string {
	if b.Port == 0 {
		return "no"
	}
	host := "HOST"
	if list, err := c.Targets(ctx, b.Target); err == nil && len(list) == 1 {
		host = list[0].Host
	}
	return fmt.Sprintf("ssh -p %d %s@%s", b.Port, b.User, host)
}
