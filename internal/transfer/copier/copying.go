package copier

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/transfer"
	"github.com/bowline-sh/bowline/internal/transport"
)

// copying is one copy under way.
type copying struct {
	c       *Copier
	req     Request
	rules   transfer.Policy
	now     func() time.Time
	subject audit.Subject

	src, dst side
	links    []*link.Link
	dest     transfer.Destination
	list     []transfer.Found

	mu      sync.Mutex // guards the fields below
	results map[int]transfer.Result
	sent    map[int]string // digests of what was read
	at      Progress
	notices []string
}

func (p *copying) run(ctx context.Context, res *Result) error {
	if p.req.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.req.Timeout)
		defer cancel()
	}
	p.results, p.sent = map[int]transfer.Result{}, map[int]string{}
	err := p.open(ctx)
	if err == nil {
		err = p.prepare(ctx)
	}
	if err == nil {
		err = p.copyAll(ctx)
	}
	err = p.cutOff(stopped(ctx, p.req.Resume, err))
	err = errors.Join(err, p.close(err != nil))
	p.fill(res)
	if err == nil {
		err = p.verdict(*res)
	}
	return err
}

// stopped says why a copy ended that ctx ended.
func stopped(ctx context.Context, resume bool, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	left := "what was under way was removed"
	if resume {
		left = "what was under way is kept for --resume"
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return diag.New(diag.Timeout, "copy", "give it more time with --timeout", "the time is up; %s: %w", left, ctx.Err())
	}
	return diag.New(diag.Canceled, "copy", "", "stopped; %s: %w", left, context.Canceled)
}

// open gets both sides ready.
func (p *copying) open(ctx context.Context) error {
	var err error
	if p.src, err = p.side(ctx, p.req.Sources[0], true); err != nil {
		return err
	}
	p.dst, err = p.side(ctx, p.req.Dest, false)
	return err
}

// close ends both sides. After a failure their links are not used again: something
// may still be under way on them.
func (p *copying) close(failed bool) error {
	for _, l := range p.links {
		if failed {
			l.Retire()
		}
	}
	var errs []error
	for _, s := range []side{p.src, p.dst} {
		if s != nil && !failed {
			errs = append(errs, s.close())
		} else if s != nil {
			_ = s.close() // what it says is no news
		}
	}
	return errors.Join(errs...)
}

// cutOff says so where a copy failed because a link is gone.
func (p *copying) cutOff(err error) error {
	if err == nil || diag.KindOf(err) == diag.Canceled || diag.KindOf(err) == diag.Timeout {
		return err
	}
	gone := errors.Is(err, transport.ErrLost)
	for _, l := range p.links {
		select {
		case <-l.Done():
			gone = true
		default:
		}
	}
	if gone && diag.KindOf(err) != diag.Lost {
		return lost(err)
	}
	return err
}

func (p *copying) connected(info transport.Info) {
	p.subject.Address, p.subject.Login, p.subject.HostKey, p.subject.KeyID = info.Address, info.Login, info.Fingerprint, info.KeyID
}

// prepare finds what is to be copied and what it is to be called.
func (p *copying) prepare(ctx context.Context) error {
	req := transfer.ScanRequest{Recursive: p.req.Recursive, Globs: p.req.Sources[0].Target != ""}
	for _, s := range p.req.Sources {
		req.Paths = append(req.Paths, []byte(s.Path))
	}
	tops := map[string]bool{}
	seen := map[string]bool{}
	err := p.src.scan(ctx, req, transfer.Scanner{
		Found: func(f transfer.Found) error {
			top, _, _ := strings.Cut(string(f.Path), "/")
			if seen[string(f.Path)] {
				if string(f.Path) == "." {
					return nil
				}
				return usage("%q comes twice; copy one after the other", f.Path)
			}
			tops[top], seen[string(f.Path)] = true, true
			f.Index = len(p.list)
			p.list = append(p.list, f)
			return nil
		},
		Notice: p.notice,
	})
	if err != nil {
		return withOp(freeze.Named(err, p.src.name()), "read", p.src.name())
	}
	if len(p.list) == 0 {
		return diag.New(diag.Failure, "copy", "", "there is nothing to copy")
	}
	one := len(p.req.Sources) == 1 && (len(tops) == 1 || tops["."])
	if p.dest, err = p.dst.find(ctx, p.req.Dest.Path, one); err != nil {
		return withOp(freeze.Named(err, p.dst.name()), "find destination", p.dst.name())
	}
	if p.req.Sources[0].stream() && len(p.dest.Name) == 0 {
		return usage("%q is a directory; write the name that the file shall have", p.req.Dest.Path)
	}
	return p.rename(tops["."])
}

// rename gives entries their paths below the destination. whole says that what is
// copied is what is in a directory, asked for as "dir/.".
func (p *copying) rename(whole bool) error {
	name := string(p.dest.Name)
	if name != "" && p.list[0].Type != transfer.Dir && strings.HasSuffix(p.req.Dest.Path, "/") {
		return usage("%q is no directory", p.req.Dest.Path)
	}
	for i := range p.list {
		f := &p.list[i]
		p.at.TotalBytes += max(f.Size, 0)
		if name == "" {
			continue
		}
		rest := string(f.Path)
		if !whole {
			_, rest, _ = strings.Cut(rest, "/")
		}
		f.Path = []byte(path.Join(name, rest))
	}
	p.at.TotalFiles = len(p.list)
	return nil
}

func (p *copying) notice(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.notices) < 200 {
		p.notices = append(p.notices, text)
	}
}

// done keeps a result. Whatever the other side says, only a digest equal to the one
// of this side is verified.
func (p *copying) done(r transfer.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Index < 0 || r.Index >= len(p.list) {
		return
	}
	f := &p.list[r.Index]
	if sum, ok := p.sent[r.Index]; r.Status == transfer.Verified && ok && sum != r.SHA256 {
		r.Status, r.Error = transfer.Mismatched, fmt.Sprintf("the SHA-256 of what was read is %s, the other side says %q", sum, r.SHA256)
	} else if r.Status == transfer.Verified && !ok {
		r.Status, r.Error = transfer.Unverified, "nothing is known of what was read"
	}
	if f.Type == transfer.File && r.Status == transfer.Made {
		r.Status, r.Error = transfer.Unverified, "the other side says nothing of a digest"
	}
	if old, ok := p.results[r.Index]; ok {
		r.Created = r.Created || old.Created
		if !old.Status.OK() {
			return // the first failure stands
		}
	} else if f.Type != transfer.File || r.Status.OK() {
		p.at.Files++
	}
	p.results[r.Index] = r
	p.tell()
}

func (p *copying) read(index int, digest string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[index] = digest
}

func (p *copying) progress(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at.Bytes += n
	p.tell()
}

// tell is called with the lock held.
func (p *copying) tell() {
	if p.req.Progress != nil {
		p.req.Progress(p.at)
	}
}

func (p *copying) fill(res *Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	res.Total, res.Notices = len(p.list), p.notices
	if p.src != nil {
		res.Way = p.src.way()
	}
	if p.dst != nil && (res.Way == "" || res.Way == wayLocal) {
		res.Way = p.dst.way()
	}
	for i := range p.list {
		r, ok := p.results[i]
		if !ok {
			continue
		}
		f := &p.list[i]
		o := Outcome{Path: string(f.Path), Type: f.Type, Status: r.Status, Size: r.Size, Reused: r.Reused, By: r.By, Error: r.Error}
		if r.Status == transfer.Verified {
			o.SHA256 = r.SHA256
			res.Bytes += r.Size
		}
		res.Files = append(res.Files, o)
	}
}

// verdict is the error of a copy that came to its end: nil only if everything is
// as it should be.
func (p *copying) verdict(res Result) error {
	var first *Outcome
	kind := diag.Failure
	for i := range res.Files {
		f := &res.Files[i]
		if !f.Status.OK() && first == nil {
			first = f
		}
	}
	switch missing := res.Total - len(res.Files); {
	case first == nil && missing > 0:
		return diag.New(diag.Failure, "copy", "run it again", "nothing is known of %d of %d files", missing, res.Total)
	case first == nil:
		return nil
	}
	for _, r := range p.results {
		if r.Kind == string(diag.Refused) {
			kind = diag.Refused
		}
	}
	hint := ""
	switch {
	case res.count(transfer.Mismatched) > 0:
		kind, hint = diag.Conflict, "run it again; if it happens again, find out what changes bytes between here and there"
	case first.Status == transfer.Unverified:
		hint = "install sha256sum (coreutils), shasum or openssl on the target, or let reading back be possible"
	case first.Status == transfer.Changed:
		hint = "copy it when nobody writes to it, or copy a snapshot"
	}
	bad := 0
	for _, f := range res.Files {
		if !f.Status.OK() {
			bad++
		}
	}
	if bad == 1 {
		return diag.New(kind, "copy", hint, "%s: %s: %s", first.Path, first.Status, first.Error)
	}
	return diag.New(kind, "copy", hint, "%d of %d are not verified; the first is %s: %s: %s", bad, res.Total, first.Path, first.Status, first.Error)
}
