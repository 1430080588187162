package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxMatches bounds what one pattern may stand for.
const maxMatches = 100_000

// expand returns the paths that p stands for: p itself if it holds no pattern, or
// if something is called so. Matching is that of path.Match, component by component;
// a leading dot must be written.
func (s *scanner) expand(p string) ([]string, error) {
	if !s.req.Globs || !strings.ContainsAny(p, `*?[\`) {
		return []string{p}, nil
	}
	abs, err := s.place.Abs(p)
	if err != nil {
		return nil, err
	}
	if _, err := s.place.Canonical(abs); err == nil {
		return []string{p}, nil
	}
	if _, err := path.Match(abs, ""); err != nil {
		return nil, fmt.Errorf("%q: %w", p, err)
	}
	found := []string{"/"}
	for part := range strings.SplitSeq(strings.TrimPrefix(abs, "/"), "/") {
		if found, err = s.step(found, part); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%q: nothing is called so: %w", p, fs.ErrNotExist)
	}
	for i := range found {
		if strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") {
			found[i] += p[strings.LastIndexByte(p, '/'):]
		}
	}
	return found, nil
}

// step goes one component further.
func (s *scanner) step(dirs []string, part string) ([]string, error) {
	var out []string
	for _, d := range dirs {
		if !strings.ContainsAny(part, `*?[\`) {
			if p := path.Join(d, part); s.exists(p) {
				out = append(out, p)
			}
			continue
		}
		names, err := s.names(d)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if ok, err := path.Match(part, n); err != nil || !ok || n[0] == '.' && part[0] != '.' {
				continue
			}
			out = append(out, path.Join(d, n))
		}
		if len(out) > maxMatches {
			return nil, fmt.Errorf("%q stands for more than %d names", part, maxMatches)
		}
	}
	return out, nil
}

// names lists a directory, nil for what is none or cannot be read: a shell, too,
// passes over these.
func (s *scanner) names(dir string) ([]string, error) {
	real, err := s.place.Canonical(dir)
	if err != nil {
		return nil, nil
	}
	tree, err := s.place.Open(real)
	if isRefused(err) && len(s.place.Policy().Allow) == 0 {
		return nil, err
	}
	if err != nil {
		return nil, nil
	}
	defer tree.Close()
	names, err := tree.Names(".")
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

func (s *scanner) exists(p string) bool {
	dir, err := s.place.Canonical(path.Dir(p))
	if err != nil {
		return false
	}
	tree, err := s.place.Open(dir)
	if err != nil {
		// An allowed root may lie deeper: the way to it cannot be read, only walked.
		_, err = s.place.Canonical(p)
		return err == nil
	}
	defer tree.Close()
	_, err = tree.Lstat(path.Base(p))
	return err == nil
}
