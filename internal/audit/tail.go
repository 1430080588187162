package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/internal/redact"
)

// tail is the end of the log as the last writer in this process left it. It is
// valid while the files are the same and as long; then an append need not read.
type tail struct {
	file     *os.File // the active segment
	headFile *os.File
	info     fs.FileInfo // of file, after the last append
	headInfo fs.FileInfo
	segment  int    // number the active segment will get
	size     int64  // of the whole lines in file
	torn     []byte // what stands after them
	head     head
}

// refresh brings the tail up to date and returns the notes to be written about
// what was found amiss and is healed with the next append.
func (l *Log) refresh(ctx context.Context) ([]Entry, error) {
	if l.tail.fresh(l.cfg) {
		return nil, nil
	}
	l.tail.forget()
	if err := l.openTail(); err != nil {
		return nil, err
	}
	if err := l.readTail(ctx); err != nil {
		return nil, err
	}
	last := l.tail.head
	notes, err := l.agree(ctx, last)
	if err != nil {
		return nil, err
	}
	if len(l.tail.torn) > 0 {
		notes = append(notes, l.tornNote(l.tail.torn))
	}
	return notes, l.tail.remember(l.cfg)
}

// fresh reports whether the files are those the tail was read from, unchanged.
func (t *tail) fresh(cfg Config) bool {
	if t.file == nil {
		return false
	}
	info, err := os.Lstat(filepath.Join(cfg.Dir, activeName))
	if err != nil || !os.SameFile(info, t.info) || info.Size() != t.info.Size() || info.Mode() != t.info.Mode() {
		return false
	}
	info, err = os.Lstat(cfg.HeadFile)
	return err == nil && os.SameFile(info, t.headInfo) && info.Mode() == t.headInfo.Mode() && info.Size() == headSize
}

// remember notes what the files look like, for fresh.
func (t *tail) remember(cfg Config) (err error) {
	if t.info, err = t.file.Stat(); err != nil {
		return err
	}
	t.headInfo, err = t.headFile.Stat()
	return err
}

func (t *tail) forget() {
	for _, f := range []*os.File{t.file, t.headFile} {
		if f != nil {
			f.Close() // nothing is buffered in it
		}
	}
	*t = tail{}
}

// close syncs the head, so that only a power cut while writing takes it back.
func (t *tail) close() error {
	if t.headFile == nil {
		return nil
	}
	err := t.headFile.Sync()
	t.forget()
	return err
}

// openTail opens the active segment and the head, making what a new log or a
// rotation cut short lacks.
func (l *Log) openTail() error {
	closed, err := closedSegments(l.cfg.Dir)
	if err != nil {
		return err
	}
	t := &l.tail
	t.segment = 1
	if n := len(closed); n > 0 {
		t.segment = closed[n-1].number + 1
	}
	if t.file, err = openActive(l.cfg.Dir); err != nil {
		return err
	}
	t.headFile, err = openGuarded(l.cfg.HeadFile, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.firstHead(len(closed)); err != nil {
			return err
		}
		t.headFile, err = openGuarded(l.cfg.HeadFile, os.O_RDWR)
	}
	return err
}

// firstHead makes the head of a log that has no entries yet.
func (l *Log) firstHead(closed int) error {
	info, err := l.tail.file.Stat()
	if err != nil {
		return err
	}
	if closed > 0 || info.Size() > 0 {
		return fmt.Errorf("%w: %q is missing", ErrTampered, l.cfg.HeadFile)
	}
	return createHead(l.cfg.HeadFile, l.cfg.Now().UTC())
}

func openActive(dir string) (*os.File, error) {
	path := filepath.Join(dir, activeName)
	f, err := openGuarded(path, os.O_RDWR)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	if err := durable.SyncDir(dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func openGuarded(path string, flag int) (*os.File, error) {
	f, err := openNoFollow(path, flag)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = guard(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readTail finds the last whole entry and sets size, torn and head to it.
func (l *Log) readTail(ctx context.Context) error {
	t := &l.tail
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	back := newBackward(t.file, info.Size())
	if t.torn, err = back.torn(); err != nil {
		return err
	}
	t.size = info.Size() - int64(len(t.torn))
	t.head = head{Version: 1, Hash: zeroHash, Segment: t.segment}
	for e, err := range l.newestFirst(ctx) {
		if err != nil {
			return fmt.Errorf("%w: last entry: %w", ErrTampered, err)
		}
		t.head.Seq, t.head.Hash, t.head.Count, t.head.Time = e.Seq, e.Hash, e.Seq, e.Time
		break
	}
	return nil
}

// agree checks the head file against the last entry. A head that is behind is
// healed if the entries after it chain to it, with a note.
func (l *Log) agree(ctx context.Context, last head) ([]Entry, error) {
	stored, err := readHead(l.cfg.HeadFile)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrTampered, err)
	case stored.Seq > last.Seq:
		return nil, fmt.Errorf("%w: the head states %d entries, the log holds %d", ErrTampered, stored.Seq, last.Seq)
	case stored.Seq == last.Seq && stored.Hash != last.Hash:
		return nil, fmt.Errorf("%w: entry %d is not the one the head states", ErrTampered, last.Seq)
	case stored.Seq == last.Seq:
		return nil, nil
	}
	if err := l.chainsTo(ctx, stored); err != nil {
		return nil, err
	}
	return []Entry{l.healNote(fmt.Sprintf("the head was %d behind the log; the entries in between chain to it", last.Seq-stored.Seq), nil)}, nil
}

// chainsTo walks from the last entry back to the one the head states.
func (l *Log) chainsTo(ctx context.Context, stored head) error {
	next := Entry{}
	for e, err := range l.newestFirst(ctx) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("%w: %w", ErrTampered, err)
		case next.Seq != 0 && (e.Seq != next.Seq-1 || e.Hash != next.Prev):
			return fmt.Errorf("%w: entry %d does not follow entry %d", ErrTampered, next.Seq, e.Seq)
		case e.Seq == stored.Seq && e.Hash == stored.Hash:
			return nil
		case e.Seq <= stored.Seq:
			return fmt.Errorf("%w: entry %d is not the one the head states", ErrTampered, e.Seq)
		}
		next = e
	}
	if stored.Seq == 0 && next.Seq == 1 && next.Prev == zeroHash {
		return nil
	}
	return fmt.Errorf("%w: entry %d is missing", ErrTampered, stored.Seq)
}

// verbHeal is the verb of notes about repairs after a crash.
const verbHeal = "audit.heal"

func (l *Log) healNote(text string, digests map[string]string) Entry {
	return Entry{ID: l.cfg.NewID(), Event: EventNote, Verb: verbHeal, Actor: l.cfg.Actor, Text: text, Digests: digests}
}

// maxTornShown bounds what a note repeats of a torn line.
const maxTornShown = 512

func (l *Log) tornNote(torn []byte) Entry {
	shown := l.cfg.Redactor.Text(string(torn[:min(len(torn), maxTornShown)]))
	text := fmt.Sprintf("replaced a line of %d bytes that an append cut short left: %s", len(torn), redact.Clean(shown, 2*maxTornShown))
	return l.healNote(text, map[string]string{"torn": "sha256:" + hashOf(torn)})
}

// store writes data after the whole lines, over what is torn, and syncs. On
// failure it puts back what was there.
func (t *tail) store(data []byte) error {
	_, err := t.file.WriteAt(data, t.size)
	end := t.size + int64(len(data))
	if err == nil && len(t.torn) > len(data) {
		err = t.file.Truncate(end)
	}
	if err == nil {
		err = t.file.Sync()
	}
	if err != nil {
		return errors.Join(err, t.undo())
	}
	t.size, t.torn = end, nil
	return nil
}

func (t *tail) undo() error {
	if _, err := t.file.WriteAt(t.torn, t.size); err != nil {
		return err
	}
	if err := t.file.Truncate(t.size + int64(len(t.torn))); err != nil {
		return err
	}
	return t.file.Sync()
}

// rotate closes the active segment, which ends in a whole line, under its
// number and begins a new one. A
// crash in between leaves no active segment, which openActive makes.
func (t *tail) rotate(dir string) error {
	if err := t.headFile.Sync(); err != nil {
		return err
	}
	closed := filepath.Join(dir, segmentName(t.segment))
	if _, err := os.Lstat(closed); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%q is in the way", closed), err)
	}
	if err := t.file.Close(); err != nil { // before the rename, for Windows
		return err
	}
	t.file = nil
	if err := os.Rename(filepath.Join(dir, activeName), closed); err != nil {
		return err
	}
	f, err := openActive(dir)
	if err != nil {
		return err
	}
	t.file, t.size = f, 0
	t.segment++
	return nil
}
