package target

import (
	"strconv"
	"strings"
)

// maxSuggestions keeps the end of an error readable.
const maxSuggestions = 3

// Suggest returns "; did you mean X?" with the known words that are closest to
// a mistyped one, or "" if none is close.
func Suggest(word string, known []string) string {
	var nearest []string
	best := farthest(word)
	for _, k := range known {
		d := distance(word, k)
		if d < best {
			best, nearest = d, nil
		}
		if d == best {
			nearest = append(nearest, strconv.Quote(k))
		}
	}
	if len(nearest) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(nearest[:min(len(nearest), maxSuggestions)], " or ") + "?"
}

// farthest is how many letters a mistyped word may be off: more in a long one,
// never so many that nothing of it is left.
func farthest(word string) int {
	return min(1+len(word)/4, 3, len(word)-1)
}

// distance counts the letters to add, drop, replace or swap with their
// neighbour to turn a into b (optimal string alignment), without regard to
// case. Long words, which no name is, are far from everything.
func distance(a, b string) int {
	const long = 1000
	if len(a) > 128 || len(b) > 128 {
		return long
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			change := row[j]
			if a[i] != b[j] {
				change++
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
