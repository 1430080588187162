package bowline

import (
	"context"

	"github.com/bowline-sh/bowline/internal/warm"
	"github.com/bowline-sh/bowline/target"
)

// OpenLink is a link that the background process keeps open.
type OpenLink = warm.Link

// Links lists what the background process keeps open, and its process id; none and 0
// if there is no such process.
func (c *Client) Links(ctx context.Context) ([]OpenLink, int, error) {
	return c.parts.Warm().Links(ctx)
}

// CloseLinks ends the links to targets that the background process keeps, each when its
// last user is done.
func (c *Client) CloseLinks(ctx context.Context, targets []target.Target) error {
	for _, t := range targets {
		if err := c.parts.Warm().Close(ctx, &t); err != nil {
			return err
		}
	}
	return nil
}

// CloseAllLinks ends the background process and all its links.
func (c *Client) CloseAllLinks(ctx context.Context) error { return c.parts.Warm().Close(ctx, nil) }

// ServeLinks is the background process: it keeps links open for other clients of this
// user until nobody has used them for the time that link.persist says. It returns at
// once if another process does it.
func (c *Client) ServeLinks(ctx context.Context) error { return c.parts.ServeLinks(ctx) }
