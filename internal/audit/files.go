package audit

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	activeName = "audit.jsonl"
	lockName   = "audit.lock"
	headName   = "head.json"
)

// segment is one file of the chain.
type segment struct {
	name   string // in the directory
	path   string
	number int
	open   *os.File // set for the active one, which may be renamed at any time
}

func segmentName(number int) string { return fmt.Sprintf("audit-%06d.jsonl", number) }

// segmentNumber returns the number in the name of a closed segment, or 0.
func segmentNumber(name string) int {
	digits, ok := strings.CutPrefix(name, "audit-")
	if !ok {
		return 0
	}
	digits, ok = strings.CutSuffix(digits, ".jsonl")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 1 || segmentName(n) != name {
		return 0
	}
	return n
}

// closedSegments lists the closed segments in dir, oldest first.
func closedSegments(dir string) ([]segment, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []segment
	for _, name := range names {
		if n := segmentNumber(name); n > 0 {
			out = append(out, segment{name: name, path: filepath.Join(dir, name), number: n})
		}
	}
	slices.SortFunc(out, func(a, b segment) int { return a.number - b.number })
	return out, nil
}

// readNoFollow reads at most max bytes of a regular file.
func readNoFollow(path string, max int64) ([]byte, error) {
	f, err := openNoFollow(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, max))
}

// openNoFollow opens a regular file, refusing a symbolic link.
func openNoFollow(path string, flag int) (*os.File, error) {
	info, err := os.Lstat(path) // for a clear message, and for Windows
	if err == nil && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	f, err := os.OpenFile(path, flag|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	info, err = f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// guardDir makes the log directory if it is missing and refuses one that
// others could have prepared or can change.
func guardDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &fs.PathError{Op: "open", Path: dir, Err: errNotDir}
	}
	return guard(dir, info)
}
