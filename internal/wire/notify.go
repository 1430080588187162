package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/internal/store"
)

// notifyTime bounds the command of [notify].
const notifyTime = 10 * time.Second

// waiting is what that command reads, as one line of JSON.
type waiting struct {
	SchemaVersion int       `json:"schema_version"`
	ID            string    `json:"id"`
	Target        string    `json:"target"`
	Status        string    `json:"status"`
	Note          string    `json:"note"`
	User          string    `json:"user"`
	Client        string    `json:"client"`
	Expires       time.Time `json:"expires"`
	Review        string    `json:"review"` // what to type
}

// notifier runs the command of [notify] for a session that waits. It does not wait for
// it; Close does. That it failed is a note: the session waits all the same.
func (p *Parts) notifier(note func(string)) func(store.Session) {
	argv := p.cfg.Notify
	if len(argv) == 0 {
		return nil
	}
	return func(s store.Session) {
		p.notices.Go(func() {
			if err := notify(argv, s); err != nil && note != nil {
				note(fmt.Sprintf("notify.command failed: %v", err))
			}
		})
	}
}

func notify(argv []string, s store.Session) error {
	ctx, cancel := context.WithTimeout(context.Background(), notifyTime)
	defer cancel()
	w := waiting{1, s.ID, s.Target, string(s.Status), plainText(s.Note), s.User, plainText(s.Client), s.Expires, "bowline review " + s.ID}
	doc, err := json.Marshal(w)
	if err != nil {
		return err
	}
	args := make([]string, len(argv)-1)
	for i, a := range argv[1:] {
		args[i] = fill(a, w)
	}
	cmd := exec.CommandContext(ctx, argv[0], args...)
	cmd.Stdin = bytes.NewReader(append(doc, '\n'))
	cmd.WaitDelay = time.Second // a child of it may keep its output open
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s took longer than %s", argv[0], notifyTime)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, plainText(string(out[:min(len(out), 200)])))
	}
	return nil
}

// fill puts in what a model wrote. An argument does not become an option by that.
func fill(arg string, w waiting) string {
	out := strings.NewReplacer("{id}", w.ID, "{target}", w.Target, "{note}", w.Note, "{client}", w.Client, "{user}", w.User, "{review}", w.Review).Replace(arg)
	if strings.HasPrefix(out, "-") && !strings.HasPrefix(arg, "-") {
		out = " " + out
	}
	return out
}

// plainText has no control characters, and fits a notification.
func plainText(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
