package link

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport"
)

// Helpers starts helpers at the far end of links, and places them there.
type Helpers struct {
	Binaries *helperbin.Set // required
}

// helperTimeout bounds finding, placing and starting a helper.
const helperTimeout = 60 * time.Second

// places are tried in order, as sh text. The digest of the helper is its name,
// so that versions never meet.
const places = `"$HOME/.cache/bowline/helper" "${XDG_RUNTIME_DIR:-$HOME/.cache}/bowline/helper" "/var/tmp/bowline-$(id -u)"`

// archText sets h to the digest of the helper for the target, or ends.
const archText = `case $(uname -m) in x86_64) h=%s;; aarch64|arm64) h=%s;; *) echo "BOWLINE-ARCH $(uname -m)"; exit 0;; esac; `

// startText starts the helper that is there, after its digest has been checked,
// or says what is in the way. Without a program that computes SHA-256 nothing is
// started.
const startText = archText +
	`sum() { if command -v sha256sum >/dev/null 2>&1; then sha256sum; elif command -v shasum >/dev/null 2>&1; then shasum -a 256; ` +
	`elif command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r; else echo none; fi; }; w=MISSING; ` +
	`for d in ` + places + `; do f=$d/$h; [ -f "$f" ] && [ -O "$d" ] && [ -O "$f" ] || continue; ` +
	`case $(sum <"$f") in "$h"*) ;; none*) w=NOSUM; continue;; *) rm -f "$f"; w=TAMPERED; continue;; esac; ` +
	`"$f" version >/dev/null 2>&1 || { w=NOEXEC; continue; }; exec "$f"; done; echo "BOWLINE-$w"`

// placeText writes standard input to the first place that can hold a program.
const placeText = archText +
	`umask 077; for d in ` + places + `; do mkdir -p "$d" 2>/dev/null && [ -O "$d" ] && chmod 700 "$d" || continue; ` +
	`t=$d/.new-$$; printf "#%%c/bin/sh\nexit 0\n" "$x" >"$t" && chmod 700 "$t" || continue; "$t" 2>/dev/null || { rm -f "$t"; continue; }; ` +
	`cat >"$t" && mv -f "$t" "$d/$h" && echo "BOWLINE-PLACED $d/$h" && exit 0; rm -f "$t"; break; done; echo BOWLINE-NOPLACE`

// HelperOptions say how a helper is started.
type HelperOptions struct {
	Install bool // place it first if it is not there
	Sudo    bool // run it as root through "sudo -n", which never asks
}

// Start returns a client of a helper at the far end of conn, placing it first if
// o.Install is set and it is not there. The helper ends when its channel does.
// Errors are *diag.Error; kind Untrusted means that what lay in its place was not
// ours and was removed.
func (h Helpers) Start(ctx context.Context, conn transport.Conn, o HelperOptions) (*frame.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		c, word, err := h.try(ctx, conn, o.Sudo)
		if err != nil || c != nil {
			return c, err
		}
		if !o.Install || attempt > 1 || word != "MISSING" && word != "TAMPERED" && word != "NOEXEC" {
			return nil, whyNot(word)
		}
		if err := h.place(ctx, conn, attempt > 0 || word == "NOEXEC"); err != nil {
			return nil, err
		}
	}
}

func whyNot(word string) error {
	const op = "start helper"
	switch verb, rest, _ := strings.Cut(word, " "); verb {
	case "MISSING":
		return diag.New(diag.Sandbox, op, "", "there is no helper on the target")
	case "NOEXEC", "NOPLACE":
		return diag.New(diag.Sandbox, op, "allow programs to run from one of ~/.cache/bowline/helper, $XDG_RUNTIME_DIR or /var/tmp on the target ('mount -o remount,exec ...')",
			"no directory of the login on the target may hold a program")
	case "NOSUDO":
		return diag.New(diag.Denied, op, "let the login use sudo without a password on the target, or log in as root", "'sudo -n' does not work for this login")
	case "NOSUM":
		return diag.New(diag.Untrusted, op, "install sha256sum (coreutils), shasum or openssl on the target", "the helper's digest cannot be checked there")
	case "ARCH":
		return diag.New(diag.Sandbox, op, "", "there is no helper for the architecture %q of the target", rest)
	case "TAMPERED":
		return diag.New(diag.Untrusted, op, "find out who changes files of this login on the target", "the helper on the target was not ours, twice; it was removed and not started")
	default:
		return diag.New(diag.Failure, op, "", "the target answered %q", word)
	}
}

func (h Helpers) script(text string) (string, error) {
	sums := make([]any, 0, 2)
	for _, arch := range helperbin.Arches() {
		b, err := h.Binaries.For(arch)
		if err != nil {
			return "", diag.New(diag.Sandbox, "start helper", "build with 'make build'", "%w", err)
		}
		sums = append(sums, b.SHA256)
	}
	quoted, err := sandbox.Quote(fmt.Sprintf(text, sums...))
	return "exec /bin/sh -c " + quoted, err
}

// try starts what is there. It returns a client, or the word that the target
// answered instead.
func (h Helpers) try(ctx context.Context, conn transport.Conn, sudo bool) (*frame.Client, string, error) {
	text := startText
	if sudo {
		text = strings.Replace(text, `exec "$f"`, `sudo -n true 2>/dev/null || { echo BOWLINE-NOSUDO; exit 0; }; exec sudo -n "$f"`, 1)
	}
	line, err := h.script(text)
	if err != nil {
		return nil, "", err
	}
	proc, err := conn.Start(ctx, line)
	if err != nil {
		return nil, "", fmt.Errorf("start helper: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = proc.Close() })
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	c, banner, err := frame.NewClient(proc.Stdout(), proc.Stdin())
	if err == nil && stop() {
		go func() {
			<-c.Done()
			_ = proc.Close()
		}()
		return c, "", nil
	}
	_ = proc.Close()
	if word, ok := answer(banner); ok {
		return nil, word, nil
	}
	return nil, "", diag.New(diag.Sandbox, "start helper", "log in with ssh and see whether 'exec /bin/sh -c true' works there",
		"the login shell did not start it: %q (%w)", bounded(banner), errors.Join(err, context.Cause(ctx)))
}

// answer finds our script's last word in what a login shell printed.
func answer(text string) (word string, ok bool) {
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		if w, found := strings.CutPrefix(s.Text(), "BOWLINE-"); found {
			word, ok = w, true
		}
	}
	return word, ok
}

func bounded(s string) string { return s[:min(len(s), 400)] }

// place sends the helper for the target's architecture, which it asks for first:
// over SFTP, or through the shell where the target offers none or where the helper
// cannot start from the login's home directory.
func (h Helpers) place(ctx context.Context, conn transport.Conn, shell bool) error {
	arch, home, err := lookAround(ctx, conn)
	if err != nil {
		return err
	}
	b, err := h.Binaries.For(arch)
	if err != nil {
		return diag.New(diag.Sandbox, "place helper", "build with 'make build'", "%w", err)
	}
	if s, ok := conn.(transport.Subsystems); ok && !shell && path.IsAbs(home) {
		if err := placeSFTP(ctx, s, home, b); err == nil {
			return nil
		}
		// A full disk or a closed home ends the same way through the shell, with
		// words for it.
	}
	return h.placeShell(ctx, conn, b)
}

func (h Helpers) placeShell(ctx context.Context, conn transport.Conn, b helperbin.Helper) error {
	line, err := h.script(strings.Replace(placeText, `"$x"`, `"$(printf "\041")"`, 1))
	if err != nil {
		return err
	}
	out, err := call(ctx, conn, line, b.Data)
	if err != nil {
		return fmt.Errorf("place helper: %w", err)
	}
	if word, ok := answer(out); !ok || !strings.HasPrefix(word, "PLACED ") {
		return whyNot(word)
	}
	return nil
}

// lookAround returns the target's architecture and the login's home directory.
func lookAround(ctx context.Context, conn transport.Conn) (arch, home string, err error) {
	out, err := call(ctx, conn, `exec /bin/sh -c 'echo "BOWLINE-$(uname -m) $HOME"'`, nil)
	if err != nil {
		return "", "", fmt.Errorf("ask for architecture: %w", err)
	}
	word, _ := answer(out)
	arch, home, _ = strings.Cut(word, " ")
	switch arch {
	case "x86_64":
		return "amd64", home, nil
	case "aarch64", "arm64":
		return "arm64", home, nil
	default:
		return "", "", whyNot("ARCH " + arch)
	}
}

// call runs line with input and returns its bounded output.
func call(ctx context.Context, conn transport.Conn, line string, input []byte) (string, error) {
	proc, err := conn.Start(ctx, line)
	if err != nil {
		return "", err
	}
	defer proc.Close()
	stop := context.AfterFunc(ctx, func() { _ = proc.Close() })
	defer stop()
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	go func() {
		_, _ = io.Copy(proc.Stdin(), bytes.NewReader(input)) // the answer tells whether it arrived
		_ = proc.Stdin().Close()
	}()
	out, err := io.ReadAll(io.LimitReader(proc.Stdout(), 64<<10))
	if err != nil {
		return "", err
	}
	_, err = proc.Wait()
	return string(out), errors.Join(err, ctx.Err())
}
