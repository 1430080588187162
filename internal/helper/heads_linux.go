package helper

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/safepath"
)

// headsDir opens where heads are kept, below the login's home.
func headsDir() (*safepath.Dir, error) {
	parent, err := sessionsDir()
	if err != nil {
		return nil, err
	}
	return openHeads(filepath.Dir(parent))
}

func openHeads(parent string) (*safepath.Dir, error) {
	root, err := safepath.OpenRoot(parent)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	d, err := root.Open("/heads")
	if !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	top, err := root.Open("/")
	if err != nil {
		return nil, err
	}
	defer top.Close()
	if err := top.Mkdir("heads"); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return root.Open("/heads")
}

// leave keeps a head. What cannot be kept is not: it is a witness more, and stops nothing.
func leave(h *Head) {
	if h == nil || !validChain(h.Chain) {
		return
	}
	d, err := headsDir()
	if err != nil {
		return
	}
	defer d.Close()
	_ = keepHead(d, *h)
}

// validChain reports whether a name can be that of a file of heads.
func validChain(name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == 16 && strings.ToLower(name) == name
}

var (
	errBusy = errors.New("another helper is writing")
	errPast = errors.New("the log stood further before")
	errSize = errors.New("the head is too large")
)

// keepHead adds a head to those of its chain. One that says less than what is there is
// not kept: no number of heads from a log that was cut pushes out the one that shows it.
func keepHead(d *safepath.Dir, h Head) error {
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(line) > maxHead {
		return errSize
	}
	unlock, err := lockHeads(d)
	if err != nil {
		return err
	}
	defer unlock()
	have, err := readHeads(d, h.Chain)
	if errors.Is(err, fs.ErrNotExist) {
		err = dropOldest(d)
	}
	if err != nil {
		return err
	}
	if n := len(have); n > 0 && have[n-1].Seq >= h.Seq {
		return errPast
	}
	have = append(have, h)
	var text bytes.Buffer
	for _, x := range have[max(0, len(have)-maxHeads):] {
		if err := json.NewEncoder(&text).Encode(x); err != nil {
			return err
		}
	}
	return d.WriteFile(h.Chain, text.Bytes())
}

// lockHeads waits for the moment that another helper needs, and no longer.
func lockHeads(d *safepath.Dir) (unlock func(), err error) {
	f, err := d.Append(".lock")
	if err != nil {
		return nil, err
	}
	for range 20 {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			// Unlocked, not only closed: a process being forked meanwhile has a copy of f.
			return func() { _ = errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close()) }, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, errors.Join(errBusy, err, f.Close())
}

// readHeads returns those of a chain, as far as they can be read: a line that is none is
// left out, for whoever asks judges by signatures.
func readHeads(d *safepath.Dir, chain string) ([]Head, error) {
	b, err := d.ReadFile(chain, 2*maxHeads*maxHead)
	if err != nil {
		return nil, err
	}
	var out []Head
	for line := range bytes.Lines(b) {
		var h Head
		if json.Unmarshal(line, &h) == nil && h.Chain == chain && len(out) < maxHeads {
			out = append(out, h)
		}
	}
	return out, nil
}

func chains(d *safepath.Dir) ([]string, error) {
	names, err := d.Names()
	return slices.DeleteFunc(names, func(n string) bool { return !validChain(n) }), err
}

// dropOldest makes room for one more chain. The lock is held.
func dropOldest(d *safepath.Dir) error {
	all, err := d.Names()
	if err != nil {
		return err
	}
	for _, name := range all {
		if strings.HasSuffix(name, ".tmp") { // of a helper that was killed
			_ = d.Unlink(name)
		}
	}
	names := slices.DeleteFunc(all, func(n string) bool { return !validChain(n) })
	if len(names) < MaxChains {
		return nil
	}
	oldest, when := "", int64(0)
	for _, name := range names {
		info, err := d.Stat(name, false)
		if err != nil {
			return err
		}
		if oldest == "" || info.State.MTime < when {
			oldest, when = name, info.State.MTime
		}
	}
	return d.Unlink(oldest)
}

// heads answers VerbHeads.
func heads(r *frame.Request) (any, error) {
	var none struct{}
	if err := r.Decode(&none); err != nil {
		return nil, err
	}
	out := HeadsResult{Heads: []Head{}}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, diag.New(diag.Failure, VerbHeads, "", "%w", err)
	}
	root, err := safepath.OpenRoot(home)
	if err != nil {
		return nil, diag.New(diag.Failure, VerbHeads, "", "%w", err)
	}
	defer root.Close()
	d, err := root.Open("/.local/share/bowline/heads")
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, diag.New(diag.Failure, VerbHeads, "", "%w", err)
	}
	defer d.Close()
	names, err := chains(d)
	for _, name := range names[:min(len(names), MaxChains)] {
		list, rerr := readHeads(d, name)
		err = errors.Join(err, rerr)
		out.Heads = append(out.Heads, list...)
	}
	if err != nil {
		return nil, diag.New(diag.Failure, VerbHeads, "", "%w", err)
	}
	return out, nil
}
