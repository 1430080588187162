//go:build linux

package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bowline-sh/bowline/internal/safepath"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCreateThenEveryEditIsFound(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	host, kept := filepath.Join(top, "host"), filepath.Join(top, "kept")
	must(t, os.MkdirAll(filepath.Join(host, "d"), 0o755))
	must(t, os.Mkdir(kept, 0o700))
	must(t, os.WriteFile(filepath.Join(host, "d", "f"), []byte("orig"), 0o640))
	root, err := safepath.OpenRoot(host)
	must(t, err)
	defer root.Close()
	base, err := safepath.OpenRoot(kept)
	must(t, err)
	defer base.Close()
	dir, err := base.Open("/")
	must(t, err)
	defer dir.Close()
	entries, err := Look(t.Context(), root, []Want{{"/d/f", true}, {"/d/absent", true}})
	must(t, err)
	if len(entries) != 4 || !entries[0].Parent || !entries[1].Parent || !entries[2].State.Absent() || !entries[3].Blob {
		t.Fatalf("entries %+v", entries)
	}
	seal, err := Create(t.Context(), dir, root, Manifest{Session: "s", Entries: entries})
	must(t, err)
	m, err := Open(dir, seal)
	must(t, err)
	must(t, Verify(t.Context(), dir, m))
	names, err := os.ReadDir(kept)
	must(t, err)
	for _, e := range names {
		path := filepath.Join(kept, e.Name())
		was, err := os.ReadFile(path)
		must(t, err)
		for _, now := range [][]byte{append([]byte("x"), was...), was[:len(was)-1], nil} {
			must(t, os.WriteFile(path, now, 0o600))
			m, err := Open(dir, seal)
			if err == nil {
				err = Verify(t.Context(), dir, m)
			}
			if !errors.Is(err, ErrTampered) {
				t.Errorf("%s of %d bytes instead of %d: %v", e.Name(), len(now), len(was), err)
			}
		}
		must(t, os.WriteFile(path, was, 0o600))
	}
	// A file that changes while it is kept is found, and no manifest is left.
	must(t, os.WriteFile(filepath.Join(host, "d", "f"), []byte("other"), 0o640))
	if _, err := Create(t.Context(), dir, root, Manifest{Entries: entries}); !errors.Is(err, ErrChanged) {
		t.Errorf("Create of a changed file: %v", err)
	}
	if _, err := Open(dir, seal); err == nil {
		t.Error("the old manifest is still there")
	}
}
