package box

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/transport"
)

// freezeLine says whether the target is frozen, and with what text; whatever cannot be seen
// is a freeze. Every login shell reads it alike.
const freezeLine = `exec /bin/sh -c 'f=` + freeze.File + `; d=${f%/*}; n=; [ -e $f ] && n=1; [ -L $f ] && n=1; [ -d $d ] && { [ -x $d ] || n=1; }; ` +
	`if [ -n "$n" ]; then echo "` + freeze.Mark + `"; [ -f $f ] && dd if=$f bs=4096 count=1 2>/dev/null; else echo ` + freeMark + `; fi'`

// freeMark is the answer of a target that is not frozen.
const freeMark = "BOWLINE-FREE"

// maxFreeze bounds the answer, in bytes.
const maxFreeze = 16 << 10

// frozenThere asks a target whether something may begin there.
func frozenThere(ctx context.Context, l transport.Conn, name string) error {
	proc, err := l.Start(ctx, freezeLine)
	if err != nil {
		return diag.New(diag.Unreachable, "ask "+name+" whether it is frozen", "", "%w", err)
	}
	defer proc.Close()
	defer context.AfterFunc(ctx, func() { _ = proc.Close() })()
	_ = proc.Stdin().Close() // it reads nothing
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	b, err := io.ReadAll(io.LimitReader(proc.Stdout(), maxFreeze))
	text := string(b)
	// A login shell may print before it.
	if i := strings.Index(text, freeze.Mark); i >= 0 {
		return freeze.Named(freeze.FromMark(b[i:]), name)
	}
	if err == nil && !strings.Contains(text, freeMark) {
		err = fmt.Errorf("it answers %q", text[:min(len(text), 100)])
	}
	if err != nil {
		return diag.New(diag.Refused, "ask "+name+" whether it is frozen", "see what a login prints: 'bowline target test "+name+"'", "%w", err)
	}
	return nil
}
