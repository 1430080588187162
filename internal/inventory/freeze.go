package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/target"
)

// Freezer freezes targets and lifts that: on this client, and on the targets, as root.
// Its fields are required.
type Freezer struct {
	Gate     freeze.Gate
	Links    *link.Pool
	Recorder Recorder
	Who      func(ctx context.Context) string // calls, as in "ann@desk"
	Now      func() time.Time
}

// Switched is what became of the file on a target.
type Switched string

const (
	SwitchSet     Switched = "set"     // made by this call
	SwitchAlready Switched = "already" // it was there; nothing was changed
	SwitchLifted  Switched = "lifted"  // removed by this call
	SwitchNone    Switched = "none"    // there is none
)

// Here freezes names on this client; one may be [freeze.All].
func (z Freezer) Here(ctx context.Context, names []string, reason string) (freeze.Freeze, error) {
	f := freeze.Freeze{By: z.Who(ctx), At: z.Now().UTC().Truncate(time.Second), Reason: reason}
	return f, z.recorded(ctx, "freeze", names, reason, func() error { return z.Gate.Set(ctx, names, f) })
}

// LiftHere lifts what Here froze. It returns what was frozen.
func (z Freezer) LiftHere(ctx context.Context, names []string) (lifted []string, err error) {
	err = z.recorded(ctx, "unfreeze", names, "", func() (err error) {
		lifted, err = z.Gate.Lift(ctx, names)
		return err
	})
	return lifted, err
}

// recorded does something that is about names, of which the log keeps the first and a
// digest of all.
func (z Freezer) recorded(ctx context.Context, verb string, names []string, text string, act func() error) error {
	subject := audit.Subject{Verb: verb}
	if len(names) == 1 {
		subject.Target = names[0]
	}
	id, err := z.Recorder.Begin(ctx, audit.Intent{Subject: subject, Argv: append([]string{verb}, names...), Text: text})
	if err != nil {
		return err
	}
	err = act()
	return errors.Join(err, z.Recorder.End(context.WithoutCancel(ctx), id, audit.Outcome{Err: err}))
}

// There makes the file on t, for as long as it takes until somebody lifts it. An error
// of kind Denied means that the login may not: t is frozen from this client only.
func (z Freezer) There(ctx context.Context, t target.Target, f freeze.Freeze) (Switched, freeze.Freeze, error) {
	return z.there(ctx, "freeze.target", t, f, freezeText)
}

// LiftThere removes the file on t.
func (z Freezer) LiftThere(ctx context.Context, t target.Target) (Switched, freeze.Freeze, error) {
	return z.there(ctx, "unfreeze.target", t, freeze.Freeze{}, liftText)
}

func (z Freezer) there(ctx context.Context, verb string, t target.Target, f freeze.Freeze, text string) (Switched, freeze.Freeze, error) {
	id, err := z.Recorder.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: verb, Target: t.Name}, Text: f.Reason})
	if err != nil {
		return "", f, err
	}
	did, found, info, err := z.turn(ctx, t, f, text)
	out := audit.Outcome{Err: err, Subject: audit.Subject{Address: info.Address, Login: info.Login, HostKey: info.Fingerprint, KeyID: info.KeyID}}
	return did, found, errors.Join(err, z.Recorder.End(context.WithoutCancel(ctx), id, out))
}

// turnTimeout bounds what is done on a target that is connected.
const turnTimeout = 30 * time.Second

func (z Freezer) turn(ctx context.Context, t target.Target, f freeze.Freeze, text string) (Switched, freeze.Freeze, transport.Info, error) {
	l, err := z.Links.Get(ctx, t)
	if err != nil {
		return "", f, transport.Info{}, err
	}
	defer l.Release()
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	out, err := asRoot(ctx, l, text, f.Text())
	if err != nil {
		l.Retire()
		return "", f, l.Info(), diag.New(diag.Lost, "switch "+t.Name, "run it again", "nobody knows what stands there: %w", err)
	}
	did, found, err := readTurn(out, t.Name, text == liftText)
	return did, found, l.Info(), err
}

// Texts for sh, which begin to answer with BOWLINE-. The file takes its name by a link,
// which fails where somebody else was faster: the first freeze stands until it is lifted.
const (
	// there sets n to where the file is, or where nobody can look.
	thereText  = `f=` + freeze.File + `; d=${f%/*}; n=; [ -e $f ] && n=1; [ -L $f ] && n=1; [ -d $d ] && { [ -x $d ] || n=1; }; `
	showText   = `echo BOWLINE-already; [ -f $f ] && dd if=$f bs=4096 count=1 2>/dev/null; exit 0`
	rootText   = `PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH; umask 022; ` + thereText
	freezeText = rootText + `t=$d/.freeze-$$; if [ $n ]; then ` + showText + `; fi; ` +
		`if mkdir -p $d && cat >$t && { sync $t 2>/dev/null || sync; } && ln $t $f; then rm -f $t; sync $d 2>/dev/null || sync; echo BOWLINE-set; exit 0; fi; ` +
		`rm -f $t; ` + thereText + `if [ $n ]; then ` + showText + `; fi; echo BOWLINE-FAILED`
	liftText = rootText + `rm -f $f 2>/dev/null || rmdir $f; sync $d 2>/dev/null || sync; ` + thereText + `if [ $n ]; then echo BOWLINE-FAILED; else echo BOWLINE-lifted; fi`
	// becomeText runs $1 as root, unless there is nothing to do.
	becomeText = thereText + `case $2$n in freeze1) ` + showText + `;; lift) echo BOWLINE-none; exit 0;; esac; ` +
		`if [ "$(id -u)" = 0 ]; then exec /bin/sh -c "$1"; fi; ` +
		`if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then exec sudo -n /bin/sh -c "$1"; fi; echo BOWLINE-NOROOT`
)

// maxTurn bounds what a target may answer, in bytes.
const maxTurn = 16 << 10

func asRoot(ctx context.Context, conn transport.Conn, text string, input []byte) (string, error) {
	var words []string
	mode := "freeze"
	if text == liftText {
		mode = "lift"
	}
	for _, w := range []string{becomeText, text} {
		q, err := sandbox.Quote(w)
		if err != nil {
			return "", err
		}
		words = append(words, q)
	}
	proc, err := conn.Start(ctx, "exec /bin/sh -c "+words[0]+" bowline "+words[1]+" "+mode)
	if err != nil {
		return "", err
	}
	defer proc.Close()
	defer context.AfterFunc(ctx, func() { _ = proc.Close() })()
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	go func() {
		_, _ = io.Copy(proc.Stdin(), bytes.NewReader(input)) // the answer tells whether it arrived
		_ = proc.Stdin().Close()
	}()
	out, err := io.ReadAll(io.LimitReader(proc.Stdout(), maxTurn))
	if err == nil {
		_, err = proc.Wait()
	}
	return string(out), errors.Join(err, ctx.Err())
}

// readTurn reads an answer, before which a login may have said something.
func readTurn(out, name string, lift bool) (Switched, freeze.Freeze, error) {
	_, rest, ok := strings.Cut("\n"+out, "\nBOWLINE-")
	word, text, _ := strings.Cut(rest, "\n")
	found := freeze.Parse([]byte(text))
	op, byHand := "freeze "+name, "mkdir -p /etc/bowline && touch "+freeze.File
	if lift {
		op, byHand = "unfreeze "+name, "rm "+freeze.File
	}
	switch {
	case !ok:
		return "", found, diag.New(diag.Failure, op, "log in with ssh and see whether 'exec /bin/sh -c true' works there", "the target answered %.200q", out)
	case word == "NOROOT":
		return "", found, diag.New(diag.Denied, op, "let the login use sudo without a password there, or as root on it: '"+byHand+"'",
			"the login is not root there, and 'sudo -n' does not work")
	case word == "FAILED":
		return "", found, diag.New(diag.Failure, op, "see what stands in its way on the target with 'ls -la /etc/bowline'", "root could not write to /etc/bowline there")
	case word == string(SwitchSet), word == string(SwitchAlready), word == string(SwitchLifted), word == string(SwitchNone):
		return Switched(word), found, nil
	}
	return "", found, fmt.Errorf("%s: the target answered %.200q", op, word)
}
