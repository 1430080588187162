package api

import (
	"time"

	"github.com/bowline-sh/bowline"
)

// Box is a development container on a target.
type Box struct {
	Name     string    `json:"name"`
	Target   string    `json:"target"`
	Status   string    `json:"status"`
	Image    string    `json:"image"`
	Owner    string    `json:"owner"`
	Worktree string    `json:"worktree,omitempty"`
	Created  time.Time `json:"created"`
	Port     int       `json:"port,omitempty"` // of the target, where its sshd listens
}

// Boxes is a list of boxes.
type Boxes struct {
	Boxes []Box `json:"boxes"`
}

func newBox(b bowline.Box) Box {
	return Box{Name: b.Name, Target: b.Target, Status: b.Status, Image: b.Image, Owner: b.Owner, Worktree: b.Worktree, Created: b.Created, Port: b.Port}
}

func listBoxes(c *call) (any, error) {
	if err := c.sees(c.path("name")); err != nil {
		return nil, err
	}
	list, err := c.Boxes(c, c.path("name"))
	out := Boxes{Boxes: []Box{}}
	for _, b := range list {
		out.Boxes = append(out.Boxes, newBox(b))
	}
	return out, err
}

func getBox(c *call) (any, error) {
	if err := c.sees(c.path("name")); err != nil {
		return nil, err
	}
	b, err := c.Box(c, c.path("name"), c.path("box"))
	return newBox(b), err
}

func startBox(c *call) (any, error) {
	if err := c.sees(c.path("name")); err != nil {
		return nil, err
	}
	if err := c.StartBox(c, c.path("name"), c.path("box")); err != nil {
		return nil, err
	}
	return getBox(c)
}

func stopBox(c *call) (any, error) {
	if err := c.sees(c.path("name")); err != nil {
		return nil, err
	}
	if err := c.StopBox(c, c.path("name"), c.path("box")); err != nil {
		return nil, err
	}
	return getBox(c)
}
