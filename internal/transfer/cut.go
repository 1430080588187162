package transfer

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"math/bits"
)

// cutter cuts content into chunks whose borders depend on the bytes before them and
// on nothing else, so that what is inserted or removed moves borders near it only.
// The rolling hash is "gear" (Xia et al., FastCDC, USENIX ATC 2016): it forgets a
// byte after 64 more.
type cutter struct {
	gear     [256]uint64
	mask     uint64
	min, max int64
	h        uint64
	n        int64 // of the chunk under way
}

// gearWindow is how many bytes the hash remembers.
const gearWindow = 64

// newCutter returns a cutter for a file that will have size bytes: 64 KiB a chunk on
// average, or more, so that there are 8192 or so.
func newCutter(size int64) *cutter {
	average := max(64<<10, int64(1)<<bits.Len64(uint64(max(size, 0)/8192)))
	c := &cutter{mask: uint64(average-1) << (64 - bits.Len64(uint64(average-1))), min: average / 4, max: average * 4}
	for i := range c.gear {
		sum := sha256.Sum256([]byte{byte(i)}) // any fixed numbers would do
		c.gear[i] = binary.BigEndian.Uint64(sum[:])
	}
	return c
}

// next returns how many bytes of p belong to the chunk under way, and whether it
// ends with them.
func (c *cutter) next(p []byte) (n int, end bool) {
	if skip := c.min - gearWindow - c.n; skip > 0 {
		n = int(min(skip, int64(len(p))))
	}
	limit := int(min(c.max-c.n, int64(len(p))))
	h := c.h
	for ; n < limit; n++ {
		h = h<<1 + c.gear[p[n]]
		if h&c.mask == 0 && c.n+int64(n) >= c.min {
			c.n, c.h = 0, 0
			return n + 1, true
		}
	}
	c.h = h
	if c.n += int64(n); c.n == c.max {
		c.n, c.h = 0, 0
		return n, true
	}
	return n, false
}

// cutUp tells each of the chunks of r, which is of a file that will have size bytes.
// whole, if not nil, is fed everything.
func cutUp(r io.Reader, size int64, whole hash.Hash, each func(Chunk) error) error {
	c, h, n := newCutter(size), sha256.New(), int64(0)
	chunk := func() error {
		if n == 0 {
			return nil
		}
		done := Chunk{n, h.Sum(nil)}
		h.Reset()
		n = 0
		return each(done)
	}
	for buf := make([]byte, Block); ; {
		m, err := io.ReadFull(r, buf)
		if whole != nil {
			whole.Write(buf[:m])
		}
		for p := buf[:m]; len(p) > 0; {
			k, end := c.next(p)
			h.Write(p[:k])
			p, n = p[k:], n+int64(k)
			if end {
				if err := chunk(); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return chunk()
		}
		if err != nil {
			return err
		}
	}
}

// errEnough ends a list of chunks that is long enough.
var errEnough = errors.New("enough")

// oldChunks cuts up an older version of a file that will have size bytes.
func oldChunks(old io.Reader, size int64) ([]Chunk, error) {
	var out []Chunk
	err := cutUp(old, size, nil, func(c Chunk) error {
		if out = append(out, c); len(out) == maxChunks {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, err
}

// stretch is where bytes stand.
type stretch struct{ off, n int64 }

// index finds chunks by their digests. Those of the other side are as long as it
// says; the digest of the whole decides in the end.
func index(chunks []Chunk) map[string]stretch {
	out := make(map[string]stretch, len(chunks))
	off := int64(0)
	for _, c := range chunks {
		out[string(c.SHA256)] = stretch{off, c.N}
		off += c.N
	}
	return out
}

// delta sends the rest of the file as stretches of an older version that the other
// side has, and what is in none of them.
func (r *reading) delta(old []Chunk, sparse bool) error {
	in, err := r.c.ReadAgain(r.off, r.e.Size-r.off)
	if err != nil {
		return &readError{err}
	}
	known, missing := index(old), stretch{off: r.off}
	var broken error // of the connection
	err = cutUp(in, r.e.Size, r.h, func(c Chunk) error {
		at := known[string(c.SHA256)]
		if at.n != c.N {
			missing.n += c.N
			if missing.n < 4*Block {
				return nil
			}
		}
		if broken = r.again(missing, sparse); broken != nil {
			return broken
		}
		missing = stretch{off: missing.off + missing.n}
		if at.n != c.N {
			return nil
		}
		if broken = r.s.w.numbers(recOld, at.off, c.N); broken != nil {
			return broken
		}
		missing.off += c.N
		r.advance(c.N)
		broken = r.check()
		return broken
	})
	if broken != nil {
		return broken
	}
	if err != nil {
		return &readError{err}
	}
	return r.again(missing, sparse)
}

// again sends bytes that have been hashed already.
func (r *reading) again(part stretch, sparse bool) error {
	if part.n == 0 {
		return nil
	}
	in, err := r.c.ReadAgain(part.off, part.n)
	if err != nil {
		return &readError{err}
	}
	for buf := make([]byte, headLen+Block); part.n > 0; {
		p := buf[:headLen+min(part.n, Block)]
		if _, err := io.ReadFull(in, p[headLen:]); err != nil {
			return &readError{errors.New(changedMark)}
		}
		n := int64(len(p) - headLen)
		if sparse && allZero(p[headLen:]) {
			err = r.s.w.numbers(recZero, n)
		} else {
			err = r.s.w.large(recData, p)
		}
		if err != nil {
			return err
		}
		part.n -= n
		r.advance(n)
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}
