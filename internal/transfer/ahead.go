package transfer

import (
	"errors"
	"hash"
	"io"
)

// ahead reads and hashes a file in a goroutine of its own, a few blocks before
// they are sent. Whoever makes one must stop it.
type ahead struct {
	full chan block // closed at the end of the file
	free chan []byte
	quit chan struct{}
}

type block struct {
	buf []byte // whole buffer; what was read begins at headLen
	n   int
	err error // io.EOF is told by the end of full
}

// aheadBlocks bounds the memory of one lane: with Block, 1 MiB.
const aheadBlocks = 4

func newAhead(r io.Reader, h hash.Hash) *ahead {
	a := &ahead{full: make(chan block, aheadBlocks), free: make(chan []byte, aheadBlocks), quit: make(chan struct{})}
	go a.run(r, h)
	return a
}

// stop waits for the goroutine: nobody else may touch the file before.
func (a *ahead) stop() {
	close(a.quit)
	for range a.full { //nolint:revive // drained until closed
	}
}

func (a *ahead) run(r io.Reader, h hash.Hash) {
	defer close(a.full)
	for made := 0; ; made++ {
		var buf []byte
		if made < aheadBlocks {
			size := Block
			if made == 0 {
				size = 32 << 10 // most files are small
			}
			buf = make([]byte, headLen+size)
		} else {
			select {
			case buf = <-a.free:
				if len(buf) < headLen+Block {
					buf = make([]byte, headLen+Block)
				}
			case <-a.quit:
				return
			}
		}
		n, err := io.ReadFull(r, buf[headLen:])
		h.Write(buf[headLen : headLen+n])
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if end {
			err = nil
		}
		select {
		case a.full <- block{buf, n, err}:
		case <-a.quit:
			return
		}
		if end || err != nil {
			return
		}
	}
}

var zeros [64 << 10]byte // never written

func allZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeros))
		if string(p[:n]) != string(zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

func hashZeros(h hash.Hash, n int64) {
	for n > 0 {
		c := min(n, int64(len(zeros)))
		h.Write(zeros[:c])
		n -= c
	}
}
