//go:build linux

package overlay

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// entry is a path as the script sees it.
type entry struct {
	state   change.State
	content string // path of the content: in a layer, or of the base
	inode   inode  // for hard links; none for directories
	keeper  bool   // the inode is still the one that the base has at this path
	bound   bool   // the path is a mount of one file
	marked  bool   // the content holds the text of a stub
	base    inode  // of a file with other links that was moved with its directory
}

// capture turns the layers into changes, stretch by stretch. All that a stretch
// is compared with are the states the one before it ended in and, for a path that
// is seen for the first time, the base.
type capture struct {
	stage  *stage
	mode   plan.Mode
	rules  rules
	window time.Time // modification times since then were not chosen by the script

	base map[string]change.State // what the host has; read once
	prev map[string]*entry       // what differed after the last stretch
	cur  map[string]*entry       // what differs now
	hash map[hashKey]hashed

	written map[inode]string // in the index: the copy of a file with several links

	seen   int
	budget int    // entries of the host that may still be looked at, see linkSearch
	buf    []byte // to read files through
}

type hashKey struct {
	dev, ino uint64
	size     int64
	ctime    unix.Timespec
}

// coarse is how far time stamps of files lie behind the clock: they come from the
// last tick (ktime_get_coarse_real_ts64), 100 a second at the slowest.
const coarse = 20 * time.Millisecond

func newCapture(s *stage, start time.Time) *capture {
	return &capture{
		stage: s, mode: s.Mode, rules: rules(s.Volatile), window: start.Add(-coarse),
		base: map[string]change.State{}, prev: map[string]*entry{}, hash: map[hashKey]hashed{}, buf: make([]byte, chunk), budget: linkSearch,
	}
}

// stretch returns what changed since the last call.
func (c *capture) stretch() (change.Changeset, error) {
	c.cur, c.written = map[string]*entry{}, map[inode]string{}
	for _, l := range c.stage.layers {
		if l.flags&unix.MS_RDONLY != 0 || c.rules.of(l.point) == volatileAll {
			continue
		}
		if err := c.layer(l); err != nil {
			return nil, err
		}
	}
	out, err := c.compare()
	if err != nil {
		return nil, err
	}
	if err := c.keep(out); err != nil {
		return nil, err
	}
	c.prev = c.cur
	return out, nil
}

// keep stores the contents that the changes need.
func (c *capture) keep(changes change.Changeset) error {
	var files []content
	for _, ch := range changes {
		if ch.After.Type != change.File || ch.Link != "" {
			continue
		}
		fresh, err := c.stage.contents.add(ch.After.SHA256, ch.After.Size)
		if err != nil {
			return err
		}
		if !fresh {
			continue
		}
		from := string(ch.Path) // of the base, if the script put it back
		if e := c.cur[from]; e != nil {
			from = e.content
		}
		files = append(files, content{path: from, size: ch.After.Size, sum: ch.After.SHA256})
	}
	return c.stage.contents.keepFiles(files)
}

func (c *capture) layer(l *layer) error {
	if _, err := os.Lstat(l.point); os.IsNotExist(err) {
		c.stage.warn("%s was unmounted and removed on the host during the dry run", l.point)
		return nil
	}
	if l.file {
		if err := c.leaf(l.point, l.upper, nil); err != nil {
			return err
		}
		// Nothing can be renamed over a mount: the file itself must change.
		if e := c.cur[l.point]; e != nil {
			e.keeper, e.bound = true, true
		}
		return nil
	}
	if l.alien {
		var st unix.Stat_t
		if err := unix.Lstat(l.upper, &st); err != nil {
			return err
		}
		if st.Mode&0o7777 != l.mode {
			return refuse("the script changed the mode of %s, which belongs to another owner", l.point)
		}
	} else if err := c.dirState(l.point, l.upper); err != nil {
		return err
	}
	if l.copied {
		return c.walk(l, l.point, l.upper, "")
	}
	if err := c.findWritten(l); err != nil {
		return err
	}
	if err := c.walk(l, l.point, l.upper, l.point); err != nil {
		return err
	}
	if err := c.index(l); err != nil {
		return err
	}
	return c.stayed(l)
}

func refuse(format string, args ...any) error {
	return diag.New(diag.Refused, "capture", "", format, args...)
}

// walk looks at a directory of the upper layer. lower is the directory of the base
// that shows through, "" if none does.
func (c *capture) walk(l *layer, view, upper, lower string) error {
	names, err := readNames(upper)
	if err != nil {
		return err
	}
	for _, name := range names {
		below := ""
		if lower != "" {
			below = path.Join(lower, name)
		}
		if err := c.visit(l, path.Join(view, name), upper+"/"+name, below); err != nil {
			return err
		}
	}
	if lower == view {
		return nil // what is not in the upper layer is as it was
	}
	shown := map[string]bool{}
	for _, name := range names {
		shown[name] = true
	}
	if lower != "" {
		through, err := readNames(lower)
		if err != nil {
			return err
		}
		for _, name := range through {
			if shown[name] {
				continue
			}
			shown[name] = true
			if err := c.moved(path.Join(lower, name), path.Join(view, name)); err != nil {
				return err
			}
		}
	}
	return c.missing(view, shown)
}

// missing notes that what the base has in view, and shown does not name, is gone.
func (c *capture) missing(view string, shown map[string]bool) error {
	base, err := c.baseOf(view)
	if err != nil || base.Type != change.Dir {
		return err
	}
	names, err := readNames(view)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !shown[name] {
			if err := c.gone(path.Join(view, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *capture) visit(l *layer, view, upper, below string) error {
	if c.rules.of(view) == volatileAll || c.stage.view.point(view) {
		return nil
	}
	c.seen++
	var st unix.Stat_t
	if err := unix.Lstat(upper, &st); err == unix.ENOENT {
		return nil // the script still runs
	} else if err != nil {
		return fmt.Errorf("stat %q: %w", upper, err)
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0:
		return c.gone(view)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		if err := c.overMount(view); err != nil {
			return err
		}
		if c.rules.of(view) == volatileFiles {
			return nil // nor is what it replaced in the plan
		}
		return c.leaf(view, upper, &st)
	}
	lower, err := c.lowerOf(l, upper, below)
	if err != nil {
		return err
	}
	if lower != view {
		if err := c.overMount(view); err != nil {
			return err
		}
	}
	if err := c.dirState(view, upper); err != nil {
		return err
	}
	return c.walk(l, view, upper, lower)
}

// overMount refuses a view in which a mount point moved or went away.
func (c *capture) overMount(view string) error {
	if c.stage.view.covers(view) {
		return refuse("%q was replaced or renamed, and there is a mount below it", view)
	}
	return nil
}

// lowerOf returns the directory of the base that shows through an upper one.
func (c *capture) lowerOf(l *layer, upper, below string) (string, error) {
	prefix := overlayPrefix(c.mode)
	if v, err := getXattr(upper, prefix+"opaque"); err == nil && string(v) == "y" {
		return "", nil
	}
	if v, err := getXattr(upper, prefix+"redirect"); err == nil {
		to := string(v)
		switch {
		case strings.HasPrefix(to, "/"):
			below = path.Join(l.point, to)
		case below == "":
			return "", refuse("%q is redirected from nowhere", upper)
		default:
			below = path.Join(path.Dir(below), to)
		}
	}
	if below == "" || c.stage.view.point(below) {
		return "", nil
	}
	if fi, err := os.Lstat(below); err != nil || !fi.IsDir() {
		return "", nil
	}
	return below, nil
}

// gone notes that a path of the base, with all below it, is not in the view.
func (c *capture) gone(view string) error {
	if c.rules.of(view) == volatileAll || within(view, string(c.stage.Scratch)) { // which holds the view
		return nil
	}
	if err := c.overMount(view); err != nil {
		return err
	}
	base, err := c.baseOf(view)
	if err != nil || base.Absent() {
		return err
	}
	c.cur[view] = &entry{}
	if base.Type != change.Dir {
		return nil
	}
	return c.missing(view, nil)
}

// moved notes that what the base has at lower is seen at view.
func (c *capture) moved(lower, view string) error {
	if c.stage.view.covers(lower) {
		return refuse("%q was renamed, and there is a mount below it", lower)
	}
	if c.rules.of(view) == volatileAll || within(lower, string(c.stage.Scratch)) {
		return nil
	}
	st, m, err := c.read(lower)
	if err != nil || st.Absent() {
		return err
	}
	e := &entry{state: st, content: lower}
	if st.NLink > 1 {
		e.base = inode{m.dev, m.ino, true}
	}
	if file, ok := c.written[e.base]; ok {
		if st, m, err = c.read(file); err != nil {
			return err
		}
		e.state, e.content, e.inode, e.base = st, file, inode{dev: m.dev, ino: m.ino}, inode{}
	} else if st.Type != change.Dir {
		e.inode = inode{m.dev, m.ino, true}
	}
	c.cur[view] = e
	if st.Type != change.Dir {
		return c.missing(view, nil)
	}
	shown := map[string]bool{}
	names, err := readNames(lower)
	if err != nil {
		return err
	}
	for _, name := range names {
		shown[name] = true
		if err := c.moved(path.Join(lower, name), path.Join(view, name)); err != nil {
			return err
		}
	}
	return c.missing(view, shown)
}

func (c *capture) dirState(view, upper string) error {
	if c.rules.of(view) == volatileAll || view == "/" {
		return nil
	}
	st, _, err := stat(upper, c.mode)
	if err != nil || st.Absent() {
		return err
	}
	c.cur[view] = &entry{state: st}
	return nil
}

// leaf notes what a layer has at view, which is not a directory. st, if not nil,
// is its status.
func (c *capture) leaf(view, upper string, st *unix.Stat_t) error {
	if st == nil {
		st = new(unix.Stat_t)
		if err := unix.Lstat(upper, st); err != nil {
			return fmt.Errorf("stat %q: %w", upper, err)
		}
	}
	now, m, h, err := c.readKnown(upper, st)
	if err != nil || now.Absent() {
		return err
	}
	if now.Type == change.Socket {
		return c.socket(view)
	}
	e := &entry{state: now, content: upper, inode: inode{dev: m.dev, ino: m.ino}, marked: h.marked}
	if h.stub != "" {
		if err := c.unstub(e, h.stub); err != nil {
			return err
		}
		e.keeper, e.marked = h.stub == view, false
	} else {
		e.keeper = keeps(view, m.origin)
	}
	if before := c.prev[view]; before != nil && !before.keeper {
		e.keeper = false // on the host the path has a new inode by now
	}
	c.cur[view] = e
	return c.missing(view, nil)
}

func (c *capture) socket(view string) error {
	base, err := c.baseOf(view)
	if err != nil {
		return err
	}
	c.stage.warn("%q is a socket; it is not made", view)
	if !base.Absent() {
		c.cur[view] = &entry{}
	}
	return c.missing(view, nil)
}

// unstub makes e what the stub stands for, with what was done to its metadata.
func (c *capture) unstub(e *entry, program string) error {
	real, err := c.baseOf(program)
	if err != nil {
		return err
	}
	stub := e.state
	e.state, e.content = real, program
	if real.Type == change.File {
		e.state.Mode, e.state.UID, e.state.GID, e.state.Xattrs, e.state.MTime = stub.Mode, stub.UID, stub.GID, stub.Xattrs, stub.MTime
		if c.mode == plan.User {
			e.state.Mode, e.state.UID, e.state.GID = real.Mode, real.UID, real.GID
		}
	}
	return nil
}

// read returns the state of a path with its digest.
func (c *capture) read(p string) (change.State, meta, error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err == unix.ENOENT || err == unix.ENOTDIR {
		return change.State{}, meta{}, nil
	} else if err != nil {
		return change.State{}, meta{}, fmt.Errorf("stat %q: %w", p, err)
	}
	s, m, _, err := c.readKnown(p, &st)
	return s, m, err
}

// readKnown is read for a path whose status is known.
func (c *capture) readKnown(p string, known *unix.Stat_t) (change.State, meta, hashed, error) {
	st, m, err := stateOf(p, known, c.mode)
	if err != nil || st.Type != change.File {
		return st, m, hashed{}, err
	}
	if st.Size > c.stage.MaxBytes {
		return st, m, hashed{}, refuse("%q has %d bytes; the limit of a plan is %d", p, st.Size, c.stage.MaxBytes)
	}
	key := hashKey{m.dev, m.ino, m.size, m.ctime}
	h, ok := c.hash[key]
	if !ok {
		began := time.Now()
		h, err = digest(p, c.buf)
		if errors.Is(err, unix.ENOENT) {
			return change.State{}, m, h, nil
		}
		if err != nil {
			return st, m, h, err
		}
		// What was written a moment ago may be written again without a new ctime.
		if began.Sub(time.Unix(m.ctime.Unix())) > coarse {
			c.hash[key] = h
		}
	}
	st.SHA256 = h.sum
	return st, m, h, nil
}

// baseOf returns what the host has at p, as it was when first asked.
func (c *capture) baseOf(p string) (change.State, error) {
	if st, ok := c.base[p]; ok {
		return st, nil
	}
	st, _, err := c.read(p)
	if err != nil {
		return st, err
	}
	if c.mode == plan.User && !st.Absent() && (int(st.UID) != c.stage.UID || int(st.GID) != c.stage.GID) {
		if err := c.stage.owner(p, &st); err != nil {
			return st, err
		}
	}
	if st.Type != change.File {
		st.Size = 0
	}
	c.base[p] = st
	return st, nil
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}
