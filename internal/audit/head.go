package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/bowline-sh/bowline/internal/durable"
)

// headSize is the size of the head file: a sector, so that a power cut leaves
// the old or the new one.
const headSize = 512

// head is the content of the head file, stored as JSON padded with spaces to
// headSize, the last byte a newline.
type head struct {
	Version int       `json:"v"`
	Seq     uint64    `json:"seq"`     // of the last entry; 0 for an empty log
	Hash    string    `json:"hash"`    // of the last entry
	Count   uint64    `json:"count"`   // of all entries
	Segment int       `json:"segment"` // number of the segment that holds the last entry
	Time    time.Time `json:"time"`    // of the last entry
	Sum     string    `json:"sum"`     // hash of this with Sum empty: tells a torn read
}

// errHead is wrapped for a head file that is not one.
var errHead = errors.New("head file is damaged")

func (h head) encode() []byte {
	h.Version, h.Sum = 1, ""
	h.Sum = hashOf(mustJSON(h))
	b := mustJSON(h)
	b = append(b, bytes.Repeat([]byte{' '}, headSize-1-len(b))...)
	return append(b, '\n')
}

func mustJSON(h head) []byte {
	b, err := json.Marshal(h)
	if err != nil {
		panic(err) // a struct of strings and numbers, with a time of this era
	}
	return b
}

func parseHead(b []byte) (head, error) {
	var h head
	if err := json.Unmarshal(b, &h); err != nil {
		return head{}, fmt.Errorf("%w: %w", errHead, err)
	}
	if h.Version > 1 {
		return head{}, fmt.Errorf("%w: version %d is newer than this program", errHead, h.Version)
	}
	if !isHash(h.Hash) || !bytes.Equal(h.encode(), b) {
		return head{}, errHead
	}
	return h, nil
}

// readTries bounds how often a head is read that a writer is overwriting.
const readTries = 100

// readHead reads the head file without the lock: a damaged one is read again
// while it keeps changing.
func readHead(path string) (head, error) {
	var last []byte
	for range readTries {
		b, err := readNoFollow(path, headSize+1)
		if err != nil {
			return head{}, err
		}
		h, err := parseHead(b)
		if err == nil {
			return h, nil
		}
		if bytes.Equal(b, last) {
			return head{}, err
		}
		last = b
	}
	return head{}, errHead
}

// createHead makes the head file of an empty log, before its first entry: from
// then on, a missing head is a sign of tampering.
func createHead(path string, now time.Time) error {
	return durable.WriteFile(path, head{Hash: zeroHash, Segment: 1, Time: now}.encode(), 0o600)
}

// writeHead overwrites the head in place.
func writeHead(f *os.File, h head) error {
	_, err := f.WriteAt(h.encode(), 0)
	return err
}
