// Package helperbin holds the helper programs for targets, compressed, as "make
// build" embeds them. A program built by a plain "go build" or "go install" has
// none: it works without helpers, and says [ErrNotEmbedded] where one is needed.
package helperbin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

//go:embed all:dist
var dist embed.FS

// ErrNotEmbedded means that this program was built without helpers.
var ErrNotEmbedded = errors.New("this program was built without helper binaries; build it with 'make build', or install a release")

// maxHelper bounds a helper, in bytes.
const maxHelper = 16 << 20

// Helper is one helper program.
type Helper struct {
	Arch   string // GOARCH: "amd64" or "arm64"
	Data   []byte // the program
	SHA256 string // 64 hex digits
}

// Arches are the architectures there are helpers for.
func Arches() []string { return []string{"amd64", "arm64"} }

// Set unpacks helpers when they are first needed. The zero value is ready; its
// methods may be called concurrently.
type Set struct {
	mu   sync.Mutex // guards have
	have map[string]Helper
}

// For returns the helper for an architecture, or an error wrapping
// ErrNotEmbedded.
func (s *Set) For(arch string) (Helper, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.have[arch]; ok {
		return h, nil
	}
	packed, err := dist.ReadFile("dist/helper_linux_" + arch + ".zst")
	if err != nil {
		return Helper{}, fmt.Errorf("helper for %s: %w", arch, ErrNotEmbedded)
	}
	data, err := unpack(packed)
	if err != nil {
		return Helper{}, fmt.Errorf("unpack helper for %s: %w", arch, err)
	}
	sum := sha256.Sum256(data)
	h := Helper{Arch: arch, Data: data, SHA256: hex.EncodeToString(sum[:])}
	if s.have == nil {
		s.have = map[string]Helper{}
	}
	s.have[arch] = h
	return h, nil
}

func unpack(packed []byte) ([]byte, error) {
	d, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxHelper))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(io.LimitReader(d, maxHelper))
}
