package sandbox

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// reader is a shell that stays and says how it reads words.
type reader struct {
	name string
	csh  bool // a newline or "!" is beyond it
	in   io.WriteCloser
	out  *bufio.Reader
	pipe *os.File // below out
}

// readers starts one process of every kind of shell.
func readers(t testing.TB) []*reader {
	t.Helper()
	var all []*reader
	for _, argv := range [][]string{{"sh"}, {"dash"}, {"bash", "--norc"}, {"busybox", "ash"}, {"zsh", "-f"},
		// fish reads all of its input before it acts.
		{"fish", "--no-config", "-c", "while read -z -l line; eval $line; end"}, {"tcsh", "-f"}} {
		cmd := exec.Command(testkit.Tool(t, argv[0]), argv[1:]...)
		cmd.Env = append(cmd.Environ(), "HOME="+testkit.Dir(t), "LC_ALL=C.UTF-8")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = in.Close()
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // killed, or ended by the end of its input
		})
		all = append(all, &reader{argv[0], argv[0] == "tcsh", in, bufio.NewReader(out), out.(*os.File)})
	}
	return all
}

// read returns what the shell makes of text: the words a program is given.
func (r *reader) read(text string) ([]string, error) {
	end := "\n"
	if r.name == "fish" {
		end = "\x00"
	}
	if _, err := fmt.Fprintf(r.in, "/usr/bin/printf '%%s\\0' %s end%s", text, end); err != nil {
		return nil, err
	}
	if err := r.pipe.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil { // against a shell that waits for more
		return nil, err
	}
	var words []string
	for {
		w, err := r.out.ReadString(0)
		if err != nil {
			return nil, fmt.Errorf("after %q: %w", words, err)
		}
		if w == "end\x00" {
			return words, nil
		}
		words = append(words, strings.TrimSuffix(w, "\x00"))
	}
}

func quoted(t *testing.T, shells []*reader, args []string) {
	t.Helper()
	text, err := words(args)
	if err != nil {
		if !strings.Contains(strings.Join(args, ""), "\x00") {
			t.Errorf("words(%q): %v", args, err)
		}
		return
	}
	for _, sh := range shells {
		whole := strings.Join(args, "")
		if sh.csh && strings.ContainsAny(whole, "\n!") || slices.Contains(args, "end") || (sh.csh || sh.name == "fish") && !utf8.ValidString(whole) {
			continue // beyond what Quote promises for it
		}
		got, err := sh.read(text)
		if err != nil {
			t.Fatalf("%s reading %s: %v", sh.name, text, err)
		}
		if !slices.Equal(got, args) {
			t.Errorf("%s reads %s as %q, want %q", sh.name, text, got, args)
		}
	}
	if strings.ContainsAny(strings.Join(args, ""), "\n") {
		oneLined(t, shells, args)
	}
}

// oneLined sees that text without its newlines still means the same to sh.
func oneLined(t *testing.T, shells []*reader, args []string) {
	t.Helper()
	text, err := words(args)
	if err != nil {
		t.Fatal(err)
	}
	line := oneLine("set -- " + text)
	if strings.Contains(line, "\n") {
		t.Errorf("oneLine(%q) has a newline", text)
	}
	for _, sh := range shells {
		if sh.csh || sh.name == "fish" {
			continue // BOOT is never read by these
		}
		if _, err := fmt.Fprintln(sh.in, line); err != nil {
			t.Fatal(err)
		}
		if got, err := sh.read(`"$@"`); err != nil || !slices.Equal(got, args) {
			t.Errorf("%s reads %s as %q (%v), want %q", sh.name, line, got, err, args)
		}
	}
}

func TestQuote(t *testing.T) {
	shells := readers(t)
	var odd []string
	for c := range 255 {
		odd = append(odd, string([]byte{byte(c + 1)}), "a"+string([]byte{byte(c + 1)})+"b")
	}
	for _, a := range odd {
		quoted(t, shells, []string{a})
	}
	for _, a := range []string{"", "-n", "~", "~root", "=ls", "{a,b}", "a'b", `\`, `\\`, `'\''`, `\'`, "''", "$x", "$(x)", "`x`", "a\nb", "\n", "%1", "^a^b", "*", "**/", "\xff\xfe", "☃", strings.Repeat("'", 100), strings.Repeat(`\'x`, 1000)} {
		quoted(t, shells, []string{a, "x", a})
	}
	if q, err := Quote("a/b_c-d.e:f,g+h@i0"); err != nil || q != "a/b_c-d.e:f,g+h@i0" {
		t.Errorf("harmless text is quoted: %s, %v", q, err)
	}
	if _, err := Quote("\x00"); err == nil {
		t.Error("NUL is accepted")
	}
}

// FuzzQuote sends arguments through every shell.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a b", "it's", `\`, "\n", "!", "$(id)", "\x00", "☃", "\xff"} {
		f.Add(s, "x")
	}
	shells := readers(f)
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a)+len(b) > 4096 {
			return // a terminal line holds no more in some shells
		}
		quoted(t, shells, []string{a, b})
	})
}

// TestBootLine: the line for the login shell holds nothing that one could read
// in its own way.
func TestBootLine(t *testing.T) {
	for _, m := range []mode{{}, {stdin: true, after: 90e9}} {
		line, err := bootLine(m)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(line, "\n\r\x00\t") {
			t.Errorf("the line holds a control character: %q", line)
		}
		if rest := strings.ReplaceAll(line, "$!;", ""); strings.Contains(rest, "!") {
			t.Error("the line holds an exclamation mark that csh would act upon")
		}
		// Inside quotes, fish acts upon backslashes.
		for i, part := range strings.Split(strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\'`, ""), "'") {
			if i%2 == 1 && strings.Contains(part, `\`) {
				t.Errorf("a backslash stands in quotes: %s", part)
			}
		}
		if !bytes.HasPrefix([]byte(line), []byte("exec /bin/sh -c 'set +")) || len(line) > 6000 {
			t.Errorf("%d bytes: %.80s", len(line), line)
		}
	}
}
