package executor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transfer"
	"github.com/bowline-sh/bowline/internal/transfer/agentless"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/target"
)

// Upload is a script that is placed on the target for one run: Argv are its arguments.
type Upload struct {
	Data        []byte
	Name        string   // of its file; base name
	Interpreter []string // what its first line names; nil where it names nothing and sh reads it
}

// scriptDir is where the sandbox shows a script: /dev is made anew for every run, under
// every profile.
const scriptDir = "/dev/bowline"

// judged is what the policy is asked about: an uploaded script is a program that its
// interpreter, which its first line names, reads; it is no input of what it runs.
func (r Request) judged(target, profile string) policy.Request {
	out := policy.Request{Do: policy.Run, Target: target, Profile: profile, Argv: r.Argv, Env: r.Env, Script: r.Script}
	if u := r.Upload; u != nil {
		out.Script, out.Argv = u.Data, nil
	}
	return out
}

// inside is the script's path in the sandbox.
func (u *Upload) inside() string { return path.Join(scriptDir, u.name()) }

// name is the base name of the script, as far as it is harmless.
func (u *Upload) name() string {
	name := strings.TrimLeft(strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '.' || r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			return r
		}
		return '_'
	}, path.Base(u.Name)), "-.")
	return cmp.Or(name[:min(len(name), maxName)], "script")
}

// maxName bounds the name of a script; Linux allows 255 bytes.
const maxName = 200

// argv is what is executed: the kernel reads the first line of a script that has one.
func (u *Upload) argv(args []string) []string {
	argv := []string{u.inside()}
	if u.Interpreter == nil {
		argv = []string{"sh", u.inside()}
	}
	return append(argv, args...)
}

// allowed is the program that a profile is asked about.
func (u *Upload) allowed() string {
	if u.Interpreter == nil {
		return "sh"
	}
	return u.Interpreter[0]
}

// uploadTimeout bounds placing and removing a script, each.
const uploadTimeout = 2 * time.Minute

// staleAfter is the age, in minutes, at which what a killed client left is removed: no
// run lasts longer than profile.MaxWall.
const staleAfter = 2 * int(profile.MaxWall/time.Minute)

// scriptPlaces are tried in order, as sh text: those of the helper.
const scriptPlaces = `"$HOME/.cache/bowline/script" "${XDG_RUNTIME_DIR:-$HOME/.cache}/bowline/script" "/var/tmp/bowline-$(id -u)/script"`

// roomText makes a directory for the script in the first place from which programs may
// run, and says where. %[1]s is its name, %[2]d staleAfter.
const roomText = `umask 077; w=NOPLACE; if [ -e ` + freeze.File + ` ] || [ -L ` + freeze.File + ` ]; then ` +
	`echo "` + freeze.Mark + ` $([ -f ` + freeze.File + ` ] && dd if=` + freeze.File + ` bs=4096 count=1 2>/dev/null | tr "\n" "\001")"; exit 0; fi; for d in ` + scriptPlaces + `; do mkdir -p "$d" 2>/dev/null && [ -O "$d" ] && [ ! -L "$d" ] && chmod 700 "$d" || continue; ` +
	`find "$d" -mindepth 1 -maxdepth 1 -mmin +%[2]d -exec rm -rf {} + 2>/dev/null; r=$d/%[1]s; mkdir "$r" 2>/dev/null || continue; ` +
	`printf "#\041/bin/sh\nexit 0\n" >"$r/.try" && chmod 700 "$r/.try" && "$r/.try" 2>/dev/null && rm -f "$r/.try" && echo "BOWLINE-ROOM $r" && exit 0; ` +
	`w=NOEXEC; rm -rf "$r"; done; echo "BOWLINE-$w"`

// clearText removes it, wherever it is.
const clearText = `for d in ` + scriptPlaces + `; do rm -rf "$d/%[1]s" 2>/dev/null; [ ! -e "$d/%[1]s" ] || w=1; done; [ -z "$w" ] && echo BOWLINE-CLEAR`

// placed is a script on a target.
type placed struct {
	link *link.Link
	room string // name of its directory, which nobody else has
	bind profile.Bind
}

// place puts the script on the target and makes sure that what is there is what was
// sent. With an error nothing is left there, unless the link is gone.
func (u *Upload) place(ctx context.Context, l *link.Link, t target.Target) (*placed, error) {
	const op = "place script"
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	p := &placed{link: l, room: "run-" + rand.Text()}
	answer, err := fixed(ctx, l, fmt.Sprintf(roomText, p.room, staleAfter))
	if err != nil {
		return nil, withOp(op, err)
	}
	if err := freeze.FromMark(bytes.ReplaceAll([]byte(answer), []byte("\x01"), []byte("\n"))); err != nil {
		return nil, err
	}
	dir, ok := strings.CutPrefix(answer, "BOWLINE-ROOM ")
	switch {
	case answer == "BOWLINE-NOEXEC":
		return nil, diag.New(diag.Sandbox, op, "let programs run from one of ~/.cache/bowline, $XDG_RUNTIME_DIR or /var/tmp on the target ('mount -o remount,exec ...'), or send the script to its interpreter: 'bowline run --script FILE', without --upload",
			"every directory of the login on the target is mounted noexec: no script can be executed from it")
	case answer == "BOWLINE-NOPLACE":
		return nil, diag.New(diag.Sandbox, op, "let the login write to ~/.cache, $XDG_RUNTIME_DIR or /var/tmp on the target, or send the script to its interpreter: 'bowline run --script FILE', without --upload",
			"the login has no directory on the target that it can write to")
	case !ok || path.Base(dir) != p.room || path.Clean(dir) != dir || !path.IsAbs(dir):
		return nil, diag.New(diag.Sandbox, op, "log in with ssh and see whether 'exec /bin/sh -c true' works there", "the target answered %q", answer)
	}
	if err := u.write(ctx, l, t, dir); err != nil {
		return nil, errors.Join(withOp(op, err), p.remove())
	}
	p.bind = profile.Bind{Source: path.Join(dir, u.name()), Target: u.inside(), ReadOnly: true}
	return p, nil
}

func withOp(op string, err error) error {
	if d, ok := errors.AsType[*diag.Error](err); ok {
		return diag.New(d.Kind, op, d.Hint, "%w", err)
	}
	return diag.New(diag.Sandbox, op, "", "%w", err)
}

// write is a verified transfer of one file.
func (u *Upload) write(ctx context.Context, l *link.Link, t target.Target, dir string) error {
	var place interface {
		Open(dir string) (transfer.FS, error)
	} = transfer.Machine{}
	if t.Kind != target.Local {
		sftp, err := agentless.Open(ctx, l, transfer.Policy{})
		if err != nil {
			return err
		}
		defer sftp.Close()
		defer context.AfterFunc(ctx, sftp.Abort)()
		place = sftp
	}
	tree, err := place.Open(dir)
	if err != nil {
		return err
	}
	defer tree.Close()
	temp, err := tree.Create(u.name(), transfer.TempOptions{Size: int64(len(u.Data))})
	if err != nil {
		return err
	}
	if err := u.fill(ctx, temp); err != nil {
		return errors.Join(err, temp.Discard(false))
	}
	return errors.Join(tree.Flush([]transfer.Temp{temp})...)
}

func (u *Upload) fill(ctx context.Context, temp transfer.Temp) error {
	if _, err := temp.Write(u.Data); err != nil {
		return err
	}
	sum, by, err := temp.Digest(ctx)
	if err != nil {
		return err
	}
	if want := sha256.Sum256(u.Data); sum != want {
		return diag.New(diag.Conflict, "", "try again; if it stays so, look at the disk of the target", "what arrived is not what was sent: SHA-256 %x by %s, not %x; nothing ran", sum, by, want)
	}
	return temp.Commit(transfer.Meta{Mode: 0o500, MTime: time.Now().UnixNano(), UID: -1, GID: -1})
}

// remove takes the script away, whatever became of its run.
func (p *placed) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), uploadTimeout)
	defer cancel()
	answer, err := fixed(ctx, p.link, fmt.Sprintf(clearText, p.room))
	if err == nil && answer != "BOWLINE-CLEAR" {
		err = fmt.Errorf("the target answered %q", answer)
	}
	if err != nil {
		return diag.New(diag.Failure, "remove script", "remove "+path.Dir(p.bind.Source)+" on the target; a later upload does it after two days", "it is still there: %w", err)
	}
	return nil
}

// maxAnswer bounds what a fixed command says, in bytes.
const maxAnswer = 8 << 10

// fixed runs text, which is ours, with /bin/sh and returns its last line.
func fixed(ctx context.Context, conn transport.Conn, text string) (string, error) {
	quoted, err := sandbox.Quote(text)
	if err != nil {
		return "", err
	}
	proc, err := conn.Start(ctx, "exec /bin/sh -c "+quoted)
	if err != nil {
		return "", err
	}
	defer proc.Close()
	defer context.AfterFunc(ctx, func() { _ = proc.Close() })()
	_ = proc.Stdin().Close() // nothing is read from it
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	out, err := io.ReadAll(io.LimitReader(proc.Stdout(), maxAnswer))
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "", diag.New(diag.Timeout, "", "", "the target did not answer in time: %w", ctx.Err())
	} else if ctx.Err() != nil {
		return "", diag.New(diag.Canceled, "", "", "stopped: %w", context.Cause(ctx))
	}
	if err != nil {
		return "", err
	}
	if _, err := proc.Wait(); err != nil {
		return "", err
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(lines[len(lines)-1]), nil
}
