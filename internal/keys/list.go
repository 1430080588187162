package keys

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/internal/authkeys"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// Old is the age at which a key should be exchanged.
const Old = 90 * 24 * time.Hour

// Where an age comes from.
const (
	AgeMade = "made" // we wrote it into the key's comment when we made it
	AgeFile = "file" // its file has been there so long: the key may be older
)

// Known is one key that targets use.
type Known struct {
	File        string // "" for a key that only the agent holds
	Type        string // "ed25519", "rsa 3072"; "" where an encrypted file hides it
	Fingerprint string
	Comment     string // hostile text
	Encrypted   bool
	Agent       bool // only an agent holds the private half
	Since       time.Time
	AgeFrom     string   // AgeMade or AgeFile; "" if nothing is known
	Targets     []string // whose key_file it is
	Offered     []string // targets without key_file that would be offered it
	Problem     string   // why it cannot be used, or ""
}

// Old reports whether the key should be exchanged.
func (k Known) Old(now time.Time) bool { return !k.Since.IsZero() && now.Sub(k.Since) >= Old }

// List returns the keys of the targets, in order of their files. It connects to the
// agent alone.
func (k *Keeper) List(ctx context.Context, targets []target.Target) ([]Known, error) {
	l := listing{byID: map[string]int{}}
	for _, t := range targets {
		if t.Kind != target.SSH {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if t.KeyFile == "" {
			offers, err := k.cfg.Offers(ctx, t)
			for _, o := range offers {
				known := l.at(o.File, o)
				known.Offered = append(known.Offered, t.Name)
			}
			if err != nil {
				l.at("", ssh.Key{}).problem(t.Name, err)
			}
			continue
		}
		key, err := ssh.ReadKey(t.KeyFile)
		key.File = t.KeyFile
		known := l.at(t.KeyFile, key)
		known.Targets = append(known.Targets, t.Name)
		if err != nil {
			known.Problem = err.Error()
		}
	}
	slices.SortStableFunc(l.keys, func(a, b Known) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return l.keys, nil
}

// listing gathers keys.
type listing struct {
	keys []Known
	byID map[string]int // index by file, or fingerprint of a key without
}

func (l *listing) at(file string, key ssh.Key) *Known {
	id := cmp.Or(file, key.Fingerprint())
	if i, ok := l.byID[id]; ok {
		return &l.keys[i]
	}
	l.byID[id] = len(l.keys)
	l.keys = append(l.keys, describe(file, key))
	return &l.keys[len(l.keys)-1]
}

func describe(file string, key ssh.Key) Known {
	out := Known{File: file, Fingerprint: key.Fingerprint(), Comment: key.Comment, Encrypted: key.Encrypted, Agent: !key.Private && key.Public != nil}
	if key.Public != nil {
		out.Type = authkeys.Type(key.Public)
	}
	if at, ok := madeAt(key.Comment); ok {
		out.Since, out.AgeFrom = at, AgeMade
	} else if !key.Changed.IsZero() {
		out.Since, out.AgeFrom = key.Changed, AgeFile
	}
	return out
}

// problem notes what is in the way of one target.
func (k *Known) problem(name string, err error) {
	k.Problem = strings.TrimPrefix(k.Problem+"; "+name+": "+err.Error(), "; ")
}
