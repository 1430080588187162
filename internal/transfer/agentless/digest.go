package agentless

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transfer"
	"github.com/bowline-sh/bowline/internal/transport"
)

// sumText names the program it found, then answers each line of input, an offset in
// MiB, a count and a path as octal escapes, with a digest. A count of 0 means the
// whole file; without an offset (-) it is in bytes, with one in MiB. A substitution ends where newlines do, hence the dot.
const sumText = `if command -v sha256sum >/dev/null 2>&1; then n=sha256sum; s() { sha256sum; }; ` +
	`elif command -v shasum >/dev/null 2>&1; then n=shasum; s() { shasum -a 256; }; ` +
	`elif command -v openssl >/dev/null 2>&1; then n=openssl; s() { openssl dgst -sha256 -r; }; else n=none; fi; echo "BOWLINE-SUM $n"; ` +
	`while read -r o c p; do f=$(printf "$p."); f=${f%.}; case $o,$c in -,0) s <"$f" || echo failed;; ` +
	`-,*) head -c "$c" <"$f" | s || echo failed;; ` +
	`*) dd bs=1048576 skip="$o" count="$c" <"$f" 2>/dev/null | s || echo failed;; esac; done`

// summer is the program on the target, asked one file after the other.
type summer struct {
	proc transport.Process
	out  *bufio.Reader
	by   string
	err  error // it cannot be used
}

var errNoSum = errors.New("the target has no program that computes SHA-256")

func (s *summer) close() {
	if s.proc != nil {
		_ = s.proc.Close() // ends with its input
	}
}

// start begins the program. A target that runs no commands, as one for SFTP alone,
// gives a summer with an error.
func start(conn Conn) *summer {
	quoted, err := sandbox.Quote(sumText)
	if err != nil {
		return &summer{err: err}
	}
	proc, err := conn.Start(context.Background(), "exec /bin/sh -c "+quoted)
	if err != nil {
		return &summer{err: err}
	}
	s := &summer{proc: proc, out: bufio.NewReader(proc.Stdout())}
	go func() {
		buf := make([]byte, 4<<10)
		for {
			if _, err := proc.Stderr().Read(buf); err != nil {
				return
			}
		}
	}()
	for range 1000 { // a login shell may say something before
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.err = fmt.Errorf("the target runs no commands: %w", err)
			return s
		}
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "BOWLINE-SUM "); ok {
			if s.by = name; name == "none" {
				s.err = errNoSum
			}
			return s
		}
	}
	s.err = errNoSum
	return s
}

// digest asks the target for the SHA-256 of a file, or of its first n bytes; n < 0
// means the whole.
func (p *Place) digest(name string, n int64) (sum [32]byte, by string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sum == nil {
		p.sum = start(p.conn)
	}
	s := p.sum
	if s.err != nil {
		return sum, "", s.err
	}
	if _, s.err = fmt.Fprintf(s.proc.Stdin(), "- %d %s\n", max(n, 0), escaped(name)); s.err != nil {
		return sum, "", s.err
	}
	b, err := s.answer()
	if err != nil {
		return sum, "", err
	}
	return [32]byte(b), s.by, nil
}

func escaped(name string) string {
	var b strings.Builder
	for i := range len(name) {
		fmt.Fprintf(&b, `\%03o`, name[i])
	}
	return b.String()
}

func (s *summer) answer() ([]byte, error) {
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.err = err
		return nil, err
	}
	word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	b, err := hex.DecodeString(word)
	if err != nil || len(b) != sha256.Size {
		return nil, fmt.Errorf("the target's %s failed", s.by)
	}
	return b, nil
}

// chunkUnit is what lengths of chunks must be multiples of, but for the last.
const chunkUnit = 1 << 20

// digests asks for the SHA-256 of chunks of a file, without waiting for each.
func (p *Place) digests(name string, chunks []transfer.Chunk) ([][]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sum == nil {
		p.sum = start(p.conn)
	}
	s := p.sum
	if s.err != nil {
		return nil, s.err
	}
	var lines strings.Builder
	path, off := escaped(name), int64(0)
	for _, c := range chunks {
		if c.N <= 0 || off%chunkUnit != 0 {
			return nil, errors.New("chunks of odd lengths")
		}
		fmt.Fprintf(&lines, "%d %d %s\n", off/chunkUnit, (c.N+chunkUnit-1)/chunkUnit, path)
		off += c.N
	}
	asked := make(chan error, 1)
	go func() {
		_, err := io.WriteString(s.proc.Stdin(), lines.String())
		asked <- err
	}()
	out := make([][]byte, 0, len(chunks))
	var failed error
	for range chunks {
		b, err := s.answer()
		if s.err != nil {
			_ = s.proc.Close() // wakes whoever asks
			<-asked
			return nil, err
		}
		if failed = errors.Join(failed, err); failed == nil {
			out = append(out, b)
		}
	}
	s.err = <-asked
	return out, s.err
}
