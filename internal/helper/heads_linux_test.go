package helper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bowline-sh/bowline/internal/safepath"
)

func headsAt(t *testing.T) (*safepath.Dir, string) {
	t.Helper()
	parent := t.TempDir()
	d, err := openHeads(parent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, filepath.Join(parent, "heads")
}

func headOf(chain int, seq uint64) Head {
	return Head{Chain: fmt.Sprintf("%032x", chain), Key: bytes.Repeat([]byte{1}, 32), Host: "h", Seq: seq, Hash: strings.Repeat("0", 64), Signature: bytes.Repeat([]byte{2}, 64)}
}

// TestKeepHead: the last few are kept, none takes the place of one that says more, and
// many helpers at once lose none that matters.
func TestKeepHead(t *testing.T) {
	d, dir := headsAt(t)
	var writers sync.WaitGroup
	for seq := range uint64(40) {
		writers.Go(func() {
			for err := errBusy; errors.Is(err, errBusy); {
				err = keepHead(d, headOf(1, seq+1))
			}
		})
	}
	writers.Wait()
	list, err := readHeads(d, headOf(1, 0).Chain)
	if err != nil || len(list) == 0 || len(list) > maxHeads || list[len(list)-1].Seq != 40 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, seq := range []uint64{0, 39, 40} {
		if err := keepHead(d, headOf(1, seq)); !errors.Is(err, errPast) {
			t.Errorf("%d after 40: %v", seq, err)
		}
	}
	for seq := range uint64(20) {
		if err := keepHead(d, headOf(1, 100+seq)); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := readHeads(d, headOf(1, 0).Chain); err != nil || len(list) != maxHeads || list[0].Seq != 112 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := keepHead(d, Head{Chain: headOf(2, 0).Chain, Seq: 1, Host: strings.Repeat("x", maxHead)}); !errors.Is(err, errSize) {
		t.Errorf("a large one: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, headOf(1, 0).Chain))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestHeadsAreBounded: of many chains the one that was left longest ago goes.
func TestHeadsAreBounded(t *testing.T) {
	d, _ := headsAt(t)
	for i := range MaxChains + 3 {
		if err := keepHead(d, headOf(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	names, err := chains(d)
	if err != nil || len(names) != MaxChains {
		t.Fatalf("%d chains, %v", len(names), err)
	}
	if _, err := readHeads(d, headOf(MaxChains+2, 0).Chain); err != nil {
		t.Errorf("the newest: %v", err)
	}
}

// TestHeadsFollowNoLink: neither a name nor a link of the account leads away.
func TestHeadsFollowNoLink(t *testing.T) {
	for _, name := range []string{"", "../x", strings.Repeat("A", 32), strings.Repeat("0", 31), strings.Repeat("0", 30) + "/x"} {
		if validChain(name) {
			t.Errorf("%q is a name", name)
		}
	}
	d, dir := headsAt(t)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, headOf(1, 0).Chain)); err != nil {
		t.Fatal(err)
	}
	err := keepHead(d, headOf(1, 1))
	if b, rerr := os.ReadFile(outside); rerr != nil || string(b) != "mine" || err == nil {
		t.Errorf("%q, %v, %v", b, rerr, err)
	}
	parent := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(parent, "heads")); err != nil {
		t.Fatal(err)
	}
	if d, err := openHeads(parent); err == nil {
		d.Close()
		t.Error("a link was opened as the directory")
	}
}
