package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// appendPin adds one known_hosts line to file, creating it. An equal line that
// is there already is not added again.
func appendPin(ctx context.Context, file, line string) error {
	return editPins(ctx, file, func(lines []string) []string {
		if slices.Contains(lines, line) {
			return lines
		}
		return append(lines, line)
	})
}

// replacePins takes the contradicting pins out of our file and adds the new
// key. Pins in files that are not ours stop it.
func (inv *Inventory) replacePins(ctx context.Context, t target.Target, key ssh.HostKey) error {
	ours := map[int]bool{}
	for _, p := range key.Pins {
		if !sameFile(p.File, inv.cfg.KnownHosts) {
			return diag.New(diag.Untrusted, "trust "+t.Name,
				fmt.Sprintf("take the old key out of that file yourself, then try again: 'ssh-keygen -R %s -f %s'", hostPattern(key.Line), p.File),
				"the old key %s is pinned in %s line %d, which is not ours to edit; nothing was written", p.Fingerprint, p.File, p.Line)
		}
		ours[p.Line] = true
	}
	return editPins(ctx, inv.cfg.KnownHosts, func(lines []string) []string {
		kept := make([]string, 0, len(lines)+1)
		for i, l := range lines {
			if !ours[i+1] {
				kept = append(kept, l)
			}
		}
		return append(kept, key.Line)
	})
}

func hostPattern(line string) string {
	first, _, _ := strings.Cut(line, " ")
	return first
}

func sameFile(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	ia, errA := os.Stat(a)
	ib, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(ia, ib)
}

// editPins rewrites file durably, under a lock that other processes respect.
func editPins(ctx context.Context, file string, edit func(lines []string) []string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("pin host key: %w", err)
	}
	lock, err := durable.Lock(ctx, file+".lock")
	if err != nil {
		return fmt.Errorf("pin host key: %w", err)
	}
	defer lock.Unlock()
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pin host key: %w", err)
	}
	var lines []string
	if text := strings.TrimSuffix(string(data), "\n"); text != "" {
		lines = strings.Split(text, "\n")
	}
	out := strings.Join(edit(slices.Clone(lines)), "\n") + "\n"
	if bytes.Equal(data, []byte(out)) {
		return nil
	}
	if err := durable.WriteFile(file, []byte(out), 0o600); err != nil {
		return fmt.Errorf("pin host key: %w", err)
	}
	return nil
}
