package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Watcher is told of what passes between two halves; fields are optional.
type Watcher struct {
	Done     func(Result)
	Sent     func(index int, digest string)
	Progress func(n int64)
}

// Watch carries the records of one direction from one half to the other, up to
// the last.
func Watch(to io.Writer, from io.Reader, o Watcher) error {
	r, w := newRecordReader(from), newRecordWriter(to)
	index := -1
	for {
		if r.r.Buffered() == 0 {
			if err := w.flush(); err != nil {
				return err
			}
		}
		kind, payload, err := r.next()
		if err != nil {
			return fmt.Errorf("one side ended early: %w", unexpected(err))
		}
		if err := o.see(kind, payload, &index); err != nil {
			return err
		}
		if err := w.put(kind, payload); err != nil {
			return err
		}
		if kind == recSync {
			return w.flush()
		}
	}
}

func (o Watcher) see(kind byte, payload []byte, index *int) error {
	switch kind {
	case recEntry:
		var e Entry
		if err := docOf(payload, &e); err != nil {
			return err
		}
		*index = e.Index
	case recData:
		o.moved(int64(len(payload)))
	case recZero, recKeep, recOld:
		if n, err := numbersOf(payload, len(payload)/8); err == nil && len(n) > 0 {
			o.moved(n[len(n)-1])
		}
	case recEnd:
		if len(payload) == sha256.Size && o.Sent != nil {
			o.Sent(*index, hex.EncodeToString(payload))
		}
	case recDone:
		var res Result
		if err := docOf(payload, &res); err != nil {
			return err
		}
		if o.Done != nil {
			o.Done(res)
		}
	}
	return nil
}

func (o Watcher) moved(n int64) {
	if o.Progress != nil {
		o.Progress(n)
	}
}
