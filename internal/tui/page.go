package tui

import "strings"

// source is what a page shows. Only rows that are visible are drawn.
type source interface {
	size() int
	// draw returns row i; what does not fit width is cut by the page.
	draw(i, width int) line
	// plain is the text of row i for a search. A line wrapped to several rows has
	// all its text in the first.
	plain(i int) string
}

// page is rows that are scrolled and searched, with a cursor if walk is set.
type page struct {
	src           source
	walk          bool
	cursor, top   int
	width, height int
	find          string
}

// fit keeps cursor and top within the rows.
func (p *page) fit() {
	n := p.src.size()
	if p.walk {
		p.cursor = clamp(p.cursor, n-1)
		p.top = min(max(p.top, p.cursor-p.height+1), p.cursor)
	}
	p.top = clamp(p.top, n-p.height)
}

func clamp(i, last int) int { return max(0, min(i, last)) }

// move goes by n rows.
func (p *page) move(n int) {
	if p.walk {
		p.cursor += n
	} else {
		p.top += n
	}
	p.fit()
}

// to shows row i, a few rows below the top.
func (p *page) to(i int) {
	if p.walk {
		p.cursor = i
		if i < p.top || i >= p.top+p.height {
			p.top = i - p.height/4
		}
	} else {
		p.top = i
	}
	p.fit()
}

// at is the row that is looked at.
func (p *page) at() int {
	if p.walk {
		return p.cursor
	}
	return p.top
}

// press handles the keys that all pages share and reports whether it was one.
func (p *page) press(key string) bool {
	switch key {
	case "up", "k":
		p.move(-1)
	case "down", "j":
		p.move(1)
	case "pgup", "ctrl+b":
		p.move(-max(1, p.height-1))
	case "pgdown", "ctrl+f":
		p.move(max(1, p.height-1))
	case "ctrl+u":
		p.move(-max(1, p.height/2))
	case "ctrl+d":
		p.move(max(1, p.height/2))
	case "home", "g":
		p.move(-p.src.size())
	case "end", "G":
		p.move(p.src.size())
	default:
		return false
	}
	return true
}

// search goes to the next row, or the one before, that holds p.find; it goes on at
// the other end. from is the first row looked at.
func (p *page) search(from, step int) bool {
	n := p.src.size()
	for k := range n {
		i := ((from+step*k)%n + n) % n
		if index(p.src.plain(i), p.find) >= 0 {
			p.to(i)
			return true
		}
	}
	return false
}

// render draws height lines of width columns.
func (p *page) render(b *strings.Builder, colour bool) {
	n := p.src.size()
	for y := range p.height {
		i := p.top + y
		if i < n {
			l := p.src.draw(i, p.width).cut(p.width).mark(p.find)
			add := normal
			if p.walk && i == p.cursor {
				l, add = append(line{}, l...), reverse
				l = append(l, piece{strings.Repeat(" ", max(0, p.width-l.width())), normal})
			}
			l.render(b, add, colour)
		}
		b.WriteByte('\n')
	}
}

// lines is a source of lines that fit as they are.
type lines []line

func (l lines) size() int              { return len(l) }
func (l lines) draw(i, _ int) line     { return l[i] }
func (l lines) plain(i int) string     { return l[i].text() }
func (l *lines) add(ls ...line)        { *l = append(*l, ls...) }
func (l *lines) wrap(w, h int, x line) { l.add(x.wrap(w, h)...) }
