package transfer

import (
	"fmt"
	"strconv"
	"strings"
)

// FindOwner turns "user:group", "user" or ":group", names or numbers, into
// numbers; -1 where none is given. read returns the files of a target that names
// are looked up in, /etc/passwd and /etc/group.
func FindOwner(spec string, read func(name string) ([]byte, error)) (uid, gid int, err error) {
	if spec == "" {
		return -1, -1, nil
	}
	user, group, _ := strings.Cut(spec, ":")
	if uid, err = findID(user, "/etc/passwd", read); err != nil {
		return -1, -1, err
	}
	gid, err = findID(group, "/etc/group", read)
	return uid, gid, err
}

func findID(name, file string, read func(string) ([]byte, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	text, err := read(file)
	if err != nil {
		return -1, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 3 || f[0] != name {
			continue
		}
		if n, err := strconv.ParseUint(f[2], 10, 31); err == nil {
			return int(n), nil
		}
	}
	return -1, fmt.Errorf("%q is not in %s of the target; a number works too", name, file)
}
