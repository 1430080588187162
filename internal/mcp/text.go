package mcp

import (
	"crypto/rand"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/bowline-sh/bowline/internal/neutral"
)

// Bounds of what one result holds, in bytes; the rest is paged through with 'output'.
const (
	headBytes = 8 << 10
	tailBytes = 8 << 10
	pageBytes = 16 << 10
)

// line makes text one harmless line of at most max bytes.
func line(text string, max int) string {
	text = neutral.Text(text)
	if len(text) <= max {
		return text
	}
	return cut(text, max) + "…"
}

// line is [line] with secrets masked: for texts that a host may have written a part of.
func (s *Server) line(text string, max int) string { return line(s.cfg.Client.Mask(text), max) }

// cut returns at most n bytes of s, whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// lines makes text harmless and keeps its lines and tabs.
func lines(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		l, ended := strings.CutSuffix(l, "\n")
		l = strings.TrimSuffix(l, "\r")
		for i, part := range strings.Split(l, "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(neutral.Text(part))
		}
		if ended {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// untrusted marks text as data of a host. What lies between the marks cannot end them:
// it does not know the nonce.
func untrusted(from, text string) string {
	nonce := rand.Text()[:8]
	if !strings.HasSuffix(text, "\n") && text != "" {
		text += "\n"
	}
	return fmt.Sprintf("<untrusted id=%s from=%q>\n%s</untrusted id=%s>", nonce, from, text, nonce)
}

// ends keeps the head and the tail of a long text.
func ends(text string) (short string, truncated bool) {
	if len(text) <= headBytes+tailBytes {
		return text, false
	}
	head := cut(text, headBytes)
	if i := strings.LastIndexByte(head, '\n'); i > 0 {
		head = head[:i+1]
	}
	at := len(text) - tailBytes
	if i := strings.IndexByte(text[at:], '\n'); i >= 0 && i < tailBytes-1 {
		at += i + 1
	}
	for at < len(text) && !utf8.RuneStart(text[at]) {
		at++
	}
	return fmt.Sprintf("%s[... %d bytes left out ...]\n%s", head, at-len(head), text[at:]), true
}
