package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/target"
)

// note is what is known of a rotation under way. It holds no secret. It stands on disk
// from before the first act until after the last.
type note struct {
	Version int       `json:"schema_version"`
	Target  string    `json:"target"`
	Account string    `json:"account"` // user@host:port
	Since   time.Time `json:"since"`
	Old     string    `json:"old"`      // public key in use, as in authorized_keys
	NewFile string    `json:"new_file"` // where the new key is, or will be
	Made    bool      `json:"made"`     // by us: it goes where the rotation is taken back
	New     string    `json:"new"`      // public half of the new key; "" before it is known
	KeepOld bool      `json:"keep_old"`
}

const noteVersion = 1

func (k *Keeper) noteFile(name string) string { return filepath.Join(k.cfg.State, name+".json") }

func (k *Keeper) save(n note) error {
	data, err := json.MarshalIndent(n, "", "  ")
	if err == nil {
		err = os.MkdirAll(k.cfg.State, 0o700)
	}
	if err == nil {
		err = durable.WriteFile(k.noteFile(n.Target), append(data, '\n'), 0o600)
	}
	if err != nil {
		return diag.New(diag.Failure, "note the rotation", "make the directory writable: 'chmod u+rwx "+k.cfg.State+"'", "%w", err)
	}
	return nil
}

// load returns the rotation of t that was broken off, if there is one.
func (k *Keeper) load(t target.Target) (n note, found bool, err error) {
	file := k.noteFile(t.Name)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return note{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &n)
	}
	if err == nil && (n.Version != noteVersion || n.Target != t.Name || n.NewFile == "") {
		err = errors.New("it is not a note of this version")
	}
	if err != nil {
		return note{}, false, diag.New(diag.Failure, "go on with a rotation", "see what it says, then remove it: 'rm "+file+"'", "read %s: %w", file, err)
	}
	if n.Account != address(t).String() {
		return note{}, false, diag.New(diag.Conflict, "go on with a rotation",
			"set the target right again and run this once more; or forget the rotation with 'rm "+file+"', and look for the line of "+n.NewFile+" on "+n.Account,
			"a rotation of %s was broken off when it meant %s; now it means %s", t.Name, n.Account, address(t))
	}
	return n, true, nil
}

func (k *Keeper) forgetNote(name string) error {
	err := os.Remove(k.noteFile(name))
	if err == nil {
		err = durable.SyncDir(k.cfg.State)
	}
	if err != nil {
		return fmt.Errorf("remove the note of the rotation: %w", err)
	}
	return nil
}

// parse reads a public key of a note.
func parse(text string) (ssh.PublicKey, error) {
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("a key in the note of the rotation: %w", err)
	}
	return pub, nil
}
