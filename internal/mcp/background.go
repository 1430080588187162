package mcp

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// background starts a command that goes on when the call has ended. It ends with the
// server.
func (s *Server) background(c call, in runIn, req bowline.RunRequest) (string, runOut, error) {
	name, err := s.one(bowline.WithCaller(s.ctx, c.who), in.Target)
	if err != nil {
		return "", runOut{}, err
	}
	select {
	case s.outs.turns <- struct{}{}:
	default:
		return "", runOut{}, diag.New(diag.Refused, "run in the background", "stop one with 'output' and stop=true", "%d commands run already", maxRunning)
	}
	ctx, stop := context.WithCancel(bowline.WithCaller(s.ctx, c.who))
	o := s.outs.add(c.who.Client, name, s.line(strings.Join(req.Argv, " "), 200))
	o.stop = stop
	req.Target, req.Discard = name, true
	req.Stdout, req.Stderr = o, o
	go func() {
		defer func() { <-s.outs.turns }()
		defer stop()
		res, err := s.cfg.Client.Run(ctx, req)
		o.end(s.ending(res, err), err != nil)
	}()
	out := runOut{Handle: o.id}
	return "It runs in the background on " + name + ". Call 'output' with handle " + o.id + " and wait_seconds.", out, nil
}

func (s *Server) ending(res bowline.RunResult, err error) string {
	switch {
	case err != nil:
		return "failed (" + cmpKind(err) + "): " + s.line(err.Error(), 500)
	case res.TimedOut:
		return fmt.Sprintf("timed out after %.2f s and was killed", res.Duration.Seconds())
	}
	return fmt.Sprintf("exit code %d after %.2f s", res.ExitCode, res.Duration.Seconds())
}

type outputIn struct {
	Handle string `json:"handle,omitempty"`
	Offset int    `json:"offset,omitempty" jsonschema:"bytes; negative: from the end"`
	Wait   int    `json:"wait_seconds,omitempty" jsonschema:"up to 60, for the command to end"`
	Stop   bool   `json:"stop,omitempty" jsonschema:"kill the command"`
}

type outputOut struct {
	Outputs []listedOut `json:"outputs,omitempty"`
	Text    string      `json:"text,omitempty"`
	Next    int         `json:"next_offset,omitempty" jsonschema:"there is more from here"`
	Total   int         `json:"total_bytes"`
	Running bool        `json:"running,omitempty"`
	Result  string      `json:"result,omitempty"`
}

type listedOut struct {
	Handle  string `json:"handle"`
	Target  string `json:"target"`
	Command string `json:"command"`
	Running bool   `json:"running,omitempty"`
	Result  string `json:"result,omitempty"`
}

// maxWait bounds how long one call waits: clients give up after a minute.
const maxWait = 60 * time.Second

func waitFor(seconds int) time.Duration {
	return min(time.Duration(max(seconds, 0))*time.Second, maxWait)
}

func (s *Server) output(ctx context.Context, c call, in outputIn) (string, outputOut, error) {
	if in.Handle == "" {
		return s.listOutputs(c)
	}
	o, err := s.outs.get(c.who.Client, in.Handle)
	if err != nil {
		return "", outputOut{}, err
	}
	if in.Stop && o.stop != nil {
		o.stop()
		in.Wait = cmp.Or(in.Wait, 10)
	}
	wait, cancel := context.WithTimeout(ctx, waitFor(in.Wait))
	defer cancel()
	o.wait(wait)
	out := o.page(in.Offset, s.clean)
	text := fmt.Sprintf("%s on %s: %s; bytes %d to %d of %d\n%s", o.title, o.target, cmp.Or(out.Result, "still running"), out.Total-len(out.Text), out.Total, out.Total, untrusted(o.target, out.Text))
	if out.Next > 0 {
		text = fmt.Sprintf("%s on %s: %s; read on from offset %d of %d\n%s", o.title, o.target, cmp.Or(out.Result, "still running"), out.Next, out.Total, untrusted(o.target, out.Text))
	}
	return text, out, nil
}

// page returns what is at offset of the clean text. The whole is cleaned, since a
// secret may span lines; once, when nothing is added any more.
func (o *output) page(offset int, clean func([]byte) string) outputOut {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.clean
	if text == "" {
		text = clean(o.text.Bytes())
		if o.done {
			o.clean = text
			o.text = bytes.Buffer{} // nobody wants it any more
		}
	}
	if offset < 0 {
		offset = max(len(text)+offset, 0)
	}
	offset = min(offset, len(text))
	out := outputOut{Text: cut(text[offset:], pageBytes), Total: len(text), Running: !o.done, Result: o.result}
	if next := offset + len(out.Text); next < len(text) {
		out.Next = next
	}
	if o.dropped > 0 {
		out.Result += fmt.Sprintf(" (%d bytes more were not kept)", o.dropped)
	}
	return out
}

func (s *Server) listOutputs(c call) (string, outputOut, error) {
	out := outputOut{}
	var b strings.Builder
	for _, o := range s.outs.of(c.who.Client) {
		o.mu.Lock()
		l := listedOut{o.id, o.target, o.title, !o.done, o.result}
		o.mu.Unlock()
		out.Outputs = append(out.Outputs, l)
		fmt.Fprintf(&b, "%s  %s  %s  %s\n", l.Handle, l.Target, l.Command, cmp.Or(l.Result, "running"))
	}
	return cmp.Or(b.String(), "nothing was kept"), out, nil
}
