package config

import (
	"path/filepath"
	"strings"

	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/target"
)

// Box is the table [targets.NAME.box]: what boxes on a target are made with where the call
// says nothing. Zero values are those that the file does not set.
type Box struct {
	Image    string
	Memory   int64 // bytes
	CPUs     float64
	Pids     int64
	Publish  bool
	Dotfiles string // directory of this machine
	Env      map[string]string
}

type fileBox struct {
	Image    string            `toml:"image"`
	Memory   string            `toml:"memory"`
	CPUs     *float64          `toml:"cpus"`
	Pids     *int64            `toml:"pids"`
	Publish  string            `toml:"publish"`
	Dotfiles string            `toml:"dotfiles"`
	Env      map[string]string `toml:"env"`
}

// Least that a box can live with, see package box.
const (
	minBoxMemory = 16 << 20
	minBoxPids   = 16
	maxBoxCPUs   = 1e6
)

// Box returns the table of a target, and whether there is one.
func (c Config) Box(name string) (Box, bool) {
	b, ok := c.boxes[name]
	return b, ok
}

// box reads the table of a target.
func (b *builder) box(t target.Target, f fileBox) {
	key := []string{"targets", t.Name, "box"}
	at := func(name string) []string { return append(key[:3:3], name) }
	if t.Kind != target.SSH {
		b.fault(key, "boxes are remote-only, and this target is of type %s", t.Kind)
	}
	out := Box{Image: f.Image, Publish: f.Publish == "server", Dotfiles: b.ownPath(at("dotfiles"), f.Dotfiles), Env: f.Env}
	if strings.ContainsFunc(f.Image, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		b.fault(at("image"), "%q is no name of an image", f.Image)
	}
	if f.Memory != "" {
		n, err := profile.ParseSize(f.Memory)
		if err != nil || n < minBoxMemory {
			b.fault(at("memory"), "%q: use a size of at least 16MiB, as 4GiB", f.Memory)
		}
		out.Memory = n
	}
	if f.CPUs != nil {
		if out.CPUs = *f.CPUs; !(out.CPUs > 0 && out.CPUs < maxBoxCPUs) {
			b.fault(at("cpus"), "%g: use a number of processors, as 1.5; leave it out for no limit", out.CPUs)
		}
	}
	if f.Pids != nil {
		if out.Pids = *f.Pids; out.Pids < minBoxPids {
			b.fault(at("pids"), "%d: use at least %d", out.Pids, minBoxPids)
		}
	}
	if f.Publish != "" && f.Publish != "none" && f.Publish != "server" {
		b.fault(at("publish"), "%q: use none or server", f.Publish)
	}
	if out.Dotfiles != "" && !filepath.IsAbs(out.Dotfiles) {
		b.fault(at("dotfiles"), "%q must be absolute, or begin with \"~/\"", f.Dotfiles)
	}
	for _, name := range sorted(f.Env) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(f.Env[name], 0) {
			b.fault(append(at("env"), name), "a variable has a name without '=', and no NUL")
		}
	}
	b.cfg.boxes[t.Name] = out
}
