package agentless

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport"
)

// sumText names the program it found, then answers each line of input, a count and
// a path as octal escapes, with a digest. A count of 0 means the whole file. A
// substitution ends where newlines do, hence the dot.
const sumText = `if command -v sha256sum >/dev/null 2>&1; then n=sha256sum; s() { sha256sum; }; ` +
	`elif command -v shasum >/dev/null 2>&1; then n=shasum; s() { shasum -a 256; }; ` +
	`elif command -v openssl >/dev/null 2>&1; then n=openssl; s() { openssl dgst -sha256 -r; }; else n=none; fi; echo "BOWLINE-SUM $n"; ` +
	`while read -r c p; do f=$(printf "$p."); f=${f%.}; if [ "$c" = 0 ]; then s <"$f" || echo failed; ` +
	`else head -c "$c" <"$f" | s || echo failed; fi; done`

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
	var line strings.Builder
	fmt.Fprintf(&line, "%d ", max(n, 0))
	for i := range len(name) {
		fmt.Fprintf(&line, `\%03o`, name[i])
	}
	line.WriteByte('\n')
	if _, s.err = s.proc.Stdin().Write([]byte(line.String())); s.err != nil {
		return sum, "", s.err
	}
	answer, err := s.out.ReadString('\n')
	if err != nil {
		s.err = err
		return sum, "", err
	}
	word, _, _ := strings.Cut(strings.TrimSpace(answer), " ")
	b, err := hex.DecodeString(word)
	if err != nil || len(b) != len(sum) {
		return sum, "", fmt.Errorf("the target's %s failed", s.by)
	}
	return [32]byte(b), s.by, nil
}
