// Command termshot draws text with SGR colours, as a terminal would show it, as
// an SVG picture for the documents. It reads standard input:
//
//	scripts/demo.sh | go run ./internal/termshot -title "make demo" > docs/pictures/demo.svg
package main

import (
	"bufio"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	charWidth  = 8.4 // of a 14 px monospace font
	lineHeight = 19
	margin     = 16
	header     = 34
)

func main() {
	title := flag.String("title", "", "shown above the text")
	width := flag.Int("width", 120, "columns; longer lines are folded")
	first := flag.Int("first", 1, "first line to show")
	last := flag.Int("last", 1000, "last line to show")
	flag.Parse()
	lines, err := read(os.Stdin, *width)
	if err == nil {
		lines = lines[min(*first-1, len(lines)):min(*last, len(lines))]
		err = draw(os.Stdout, lines, *title, *width)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "termshot:", err)
		os.Exit(1)
	}
}

// span is a stretch of text in one style.
type span struct{ text, style string }

// read splits input into lines of spans, folded at width columns.
func read(r io.Reader, width int) ([][]span, error) {
	var out [][]span
	style := ""
	for s := bufio.NewScanner(r); ; {
		if !s.Scan() {
			return out, s.Err()
		}
		var line []span
		room := width
		for _, part := range strings.Split("m"+s.Text(), "\x1b[") {
			code, text, _ := strings.Cut(part, "m")
			if code != "" {
				style = styleOf(code)
			}
			for runes := []rune(text); len(runes) > 0; {
				n := min(room, len(runes))
				line = append(line, span{string(runes[:n]), style})
				runes, room = runes[n:], room-n
				if room == 0 && len(runes) > 0 {
					out, line, room = append(out, line), nil, width
				}
			}
		}
		out = append(out, line)
	}
}

func styleOf(code string) string {
	switch code {
	case "1":
		return `fill="#ffffff" font-weight="bold"`
	case "2":
		return `fill="#8b949e"`
	case "32":
		return `fill="#3fb950"`
	case "31;1", "31":
		return `fill="#f85149" font-weight="bold"`
	case "33":
		return `fill="#d29922"`
	case "35", "35;1":
		return `fill="#bc8cff"`
	case "36":
		return `fill="#39c5cf"`
	default:
		return ""
	}
}

func draw(w io.Writer, lines [][]span, title string, columns int) error {
	width := int(charWidth*float64(columns)) + 2*margin
	height := header + lineHeight*len(lines) + margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`, width, height, width, height, escaped(title))
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="8" fill="#0d1117"/><text x="%d" y="22" fill="#8b949e" font-family="sans-serif" font-size="13">%s</text>`, margin, escaped(title))
	b.WriteString(`<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14" fill="#c9d1d9" xml:space="preserve">`)
	for i, line := range lines {
		fmt.Fprintf(&b, `<text x="%d" y="%d">`, margin, header+lineHeight*(i+1)-5)
		for _, s := range line {
			fmt.Fprintf(&b, `<tspan %s>%s</tspan>`, s.style, escaped(s.text))
		}
		b.WriteString("</text>\n")
	}
	b.WriteString("</g></svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return strings.ReplaceAll(b.String(), " ", "\u00a0")
}
