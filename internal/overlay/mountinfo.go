//go:build linux

package overlay

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// mount is one line of /proc/self/mountinfo, see proc_pid_mountinfo(5).
type mount struct {
	id, parent int
	point      string
	options    []string // of this mount: ro, nosuid, ...
	fstype     string
	source     string
}

func (m mount) has(option string) bool { return slices.Contains(m.options, option) }

// parseMounts reads mountinfo in the order of the kernel.
func parseMounts(r io.Reader) ([]mount, error) {
	var all []mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // overlay options of container hosts run to many KiB
	for lines.Scan() {
		m, err := parseMount(lines.Text())
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, lines.Err()
}

func parseMount(line string) (mount, error) {
	fields := strings.Split(line, " ")
	dash := slices.Index(fields, "-")
	if dash < 6 || len(fields) < dash+3 {
		return mount{}, fmt.Errorf("mountinfo line %q", line)
	}
	id, err := strconv.Atoi(fields[0])
	if err != nil {
		return mount{}, fmt.Errorf("mountinfo line %q: %w", line, err)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return mount{}, fmt.Errorf("mountinfo line %q: %w", line, err)
	}
	return mount{
		id: id, parent: parent, point: unescape(fields[4]), options: strings.Split(fields[5], ","),
		fstype: fields[dash+1], source: unescape(fields[dash+2]),
	}, nil
}

// unescape undoes the octal escapes of seq_path (fs/seq_file.c).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// visible keeps the mounts that a path lookup can reach, parents first: not
// those under another mount on the same directory or above it.
func visible(all []mount) []mount {
	children := map[int][]mount{}
	ids := map[int]bool{}
	for _, m := range all {
		children[m.parent] = append(children[m.parent], m)
		ids[m.id] = true
	}
	var root *mount
	for i, m := range all {
		if m.point == "/" && (!ids[m.parent] || m.parent == m.id) {
			root = &all[i]
		}
	}
	if root == nil {
		return nil
	}
	var out []mount
	for _, m := range all {
		if lookup(*root, children, m.point).id == m.id {
			out = append(out, m)
		}
	}
	slices.SortStableFunc(out, func(a, b mount) int { return len(a.point) - len(b.point) })
	return out
}

// lookup walks path as the kernel does, from mount to mount.
func lookup(cur mount, children map[int][]mount, path string) mount {
	for {
		next, found := mount{}, false
		for _, c := range children[cur.id] {
			if c.id != cur.id && within(path, c.point) && (!found || len(c.point) < len(next.point)) {
				next, found = c, true
			}
		}
		if !found {
			return cur
		}
		cur = next
	}
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir) && path[len(dir)] == '/'
}
