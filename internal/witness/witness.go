// Package witness makes audit logs of several machines vouch for each other. Each
// machine has a log of its own (package audit) and a key; it copies its log to the store
// that all share, and signs statements there: entry so-and-so of this chain has this
// hash. It does so of its own chain, and of those of others as it sees them in the store.
// What it said last it also keeps beside its log.
//
// So one thing is in several places: in the log, in the copy, in the statements of its
// owner and of every other machine, and in the files of those machines. Whoever can
// change one of them, with the store's administrator among them, can cut, edit or drop
// nothing that [Verify] does not find, run on a machine whose files were not changed.
//
// What it does not show: entries of the last seconds that were not yet copied when a
// machine was taken over, and what a machine that is alone with its store says, when both
// are changed together.
package witness

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/internal/store"
)

// Self is the chain of this machine and its key.
type Self struct {
	ID  string
	key ed25519.PrivateKey
	dir string
}

const (
	keyFile  = "audit-key"          // the seed, 32 bytes in hex
	lastFile = "audit-witness.json" // what was said last
)

// last is what a machine remembers of its statements.
type last struct {
	N    int64             `json:"n"`
	Prev string            `json:"prev"`
	Seqs map[string]uint64 `json:"seqs"` // of the newest statement about each chain
	Hash map[string]string `json:"hashes"`
}

// Load reads the key from a state directory, making one if there is none and the machine
// has never said anything.
func Load(dir string) (Self, error) {
	name := filepath.Join(dir, keyFile)
	self, err := Find(dir)
	if err != nil || self.ID != "" {
		return self, err
	}
	if _, err := os.Stat(filepath.Join(dir, lastFile)); err == nil {
		return Self{}, fmt.Errorf("the key of the audit log is gone, though %s is there", filepath.Join(dir, lastFile))
	}
	if err := makeKey(name); err != nil {
		return Self{}, fmt.Errorf("make key of the audit log: %w", err)
	}
	return Find(dir)
}

// Find is Load where no key is made: without one the ID is "".
func Find(dir string) (Self, error) {
	name := filepath.Join(dir, keyFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Self{dir: dir}, nil
	}
	if err != nil {
		return Self{}, fmt.Errorf("read key of the audit log: %w", err)
	}
	seed := make([]byte, ed25519.SeedSize)
	if n, err := hex.Decode(seed, b[:min(len(b), 2*len(seed))]); err != nil || n != len(seed) {
		return Self{}, fmt.Errorf("%s is not a key", name)
	}
	key := ed25519.NewKeyFromSeed(seed)
	return Self{ID: idOf(key.Public().(ed25519.PublicKey)), key: key, dir: dir}, nil
}

func makeKey(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return err
	}
	return durable.WriteFile(name, []byte(hex.EncodeToString(seed)+"\n"), 0o600)
}

// Public is the key that others check statements with.
func (s Self) Public() []byte { return slices.Clone(s.key.Public().(ed25519.PublicKey)) }

// idOf names a chain after its key, so that nobody can put another key under the name.
func idOf(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:16])
}

// text is what is signed.
func text(x store.Statement) []byte {
	return fmt.Appendf(nil, "bowline audit statement 1\n%s\n%d\n%s\n%d\n%s\n%d\n%s\n", x.Signer, x.N, x.Chain, x.Seq, x.Hash, x.Time.UnixMilli(), x.Prev)
}

func digest(x store.Statement) string {
	sum := sha256.Sum256(append(text(x), x.Signature...))
	return hex.EncodeToString(sum[:])
}

// Head is where a chain stood when its machine signed it. Targets keep it, see package
// helper; what they say is worth as much as the signature.
type Head struct {
	Chain     string
	Key       []byte
	Host      string
	Seq       uint64
	Hash      string
	Time      time.Time
	Signature []byte
}

func (h Head) text() []byte {
	return fmt.Appendf(nil, "bowline audit head 1\n%s\n%q\n%d\n%s\n%d\n", h.Chain, h.Host, h.Seq, h.Hash, h.Time.UnixMilli())
}

// Valid reports whether the machine that the chain is named after signed it.
func (h Head) Valid() bool {
	return len(h.Key) == ed25519.PublicKeySize && idOf(h.Key) == h.Chain && ed25519.Verify(h.Key, h.text(), h.Signature)
}

// Head signs where the log of this machine stands; not ok where it holds nothing.
func (s Self) Head(ctx context.Context, log *audit.Reader, host string, now time.Time) (h Head, ok bool, err error) {
	for e, err := range log.List(ctx, audit.Filter{Limit: 1}) {
		if err != nil {
			return h, false, err
		}
		h = Head{Chain: s.ID, Key: s.Public(), Host: host, Seq: e.Seq, Hash: e.Hash, Time: now.UTC().Truncate(time.Millisecond)}
		h.Signature = ed25519.Sign(s.key, h.text())
		return h, true, nil
	}
	return h, false, nil
}

// Syncer copies a log to the store and signs statements.
type Syncer struct {
	Self  Self
	Store store.Audit
	Log   *audit.Reader
	Host  string
	Now   func() time.Time
}

// Every is how often a syncer looks.
const Every = 2 * time.Second

// Run syncs until ctx ends, once more then, and tells note what goes wrong, each thing
// once until something else happens.
func (y Syncer) Run(ctx context.Context, note func(string)) {
	said := ""
	for over := false; !over; {
		if err := y.Once(context.WithoutCancel(ctx)); err != nil && err.Error() != said {
			said = err.Error()
			note("the audit log cannot be copied to the store: " + said)
		} else if err == nil {
			said = ""
		}
		select {
		case <-ctx.Done():
			over = true
		case <-time.After(Every):
		}
	}
}

// Once copies what is new, and signs what is not signed.
func (y Syncer) Once(ctx context.Context) error {
	if err := y.Store.AddChain(ctx, store.Chain{ID: y.Self.ID, Host: y.Host, Key: y.Self.Public()}); err != nil {
		return err
	}
	if err := y.copy(ctx); err != nil {
		return err
	}
	chains, err := y.Store.Chains(ctx)
	if err != nil {
		return err
	}
	for _, c := range chains {
		if err := y.state(ctx, c.ID); err != nil {
			return err
		}
	}
	return nil
}

const (
	// batch is how many entries are copied at a time.
	batch = 256
	// far is how far behind a copy is for which the log is read from its beginning.
	far = 4096
)

func (y Syncer) copy(ctx context.Context) error {
	have, err := y.Store.LastLine(ctx, y.Self.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	newest := have.Seq
	for e, err := range y.Log.List(ctx, audit.Filter{Limit: 1}) {
		if err != nil {
			return err
		}
		newest = e.Seq
	}
	if newest <= have.Seq {
		return nil
	}
	if newest-have.Seq > far {
		return y.copyFrom(ctx, have.Seq)
	}
	var lines []store.AuditLine
	for e, err := range y.Log.List(ctx, audit.Filter{AfterSeq: have.Seq}) {
		if err != nil {
			return err
		}
		lines = append(lines, lineOf(e))
	}
	slices.Reverse(lines)
	for part := range slices.Chunk(lines, batch) {
		if err := y.Store.AddLines(ctx, y.Self.ID, part); err != nil {
			return err
		}
	}
	return nil
}

func (y Syncer) copyFrom(ctx context.Context, after uint64) error {
	var lines []store.AuditLine
	for e, err := range y.Log.List(ctx, audit.Filter{AfterSeq: after, OldestFirst: true}) {
		if err != nil {
			return err
		}
		if lines = append(lines, lineOf(e)); len(lines) == batch {
			if err := y.Store.AddLines(ctx, y.Self.ID, lines); err != nil {
				return err
			}
			lines = lines[:0]
		}
	}
	return y.Store.AddLines(ctx, y.Self.ID, lines)
}

func lineOf(e audit.Entry) store.AuditLine {
	return store.AuditLine{Seq: e.Seq, Line: e.Raw(), Hash: e.Hash}
}

// state signs where a chain stands, if that is new. It says nothing about a chain that is
// shorter than what it said before, and no more at all when its own words are gone.
func (y Syncer) state(ctx context.Context, chain string) error {
	newest, err := y.Store.LastLine(ctx, chain)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	l, err := y.Self.last()
	if err != nil || newest.Seq <= l.Seqs[chain] {
		return err
	}
	before, err := y.Store.LastStatement(ctx, y.Self.ID, "")
	switch {
	case errors.Is(err, store.ErrNotFound) && l.N == 0:
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case before.N < l.N || before.N == l.N && digest(before) != l.Prev:
		return fmt.Errorf("statement %d of this machine is not in the store any more; see 'bowline audit verify --all'", l.N)
	}
	x := store.Statement{Signer: y.Self.ID, N: before.N + 1, Chain: chain, Seq: newest.Seq, Hash: newest.Hash, Time: y.Now().UTC().Truncate(time.Millisecond)}
	if before.N > 0 {
		x.Prev = digest(before)
	}
	x.Signature = ed25519.Sign(y.Self.key, text(x))
	if err := y.Store.AddStatement(ctx, x); err != nil {
		return err
	}
	return y.Self.remember(l, x)
}

func (s Self) last() (last, error) {
	l := last{Seqs: map[string]uint64{}, Hash: map[string]string{}}
	b, err := os.ReadFile(filepath.Join(s.dir, lastFile))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	if err != nil {
		return l, fmt.Errorf("read %s: %w", lastFile, err)
	}
	return l, nil
}

func (s Self) remember(l last, x store.Statement) error {
	l.N, l.Prev = x.N, digest(x)
	l.Seqs[x.Chain], l.Hash[x.Chain] = x.Seq, x.Hash
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(s.dir, lastFile), append(b, '\n'), 0o600)
}
