package sandbox

import (
	"bytes"
	"strings"
	"testing"
)

const testNonce = "\x02ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// split feeds text to a stream in pieces of the given sizes, over and over.
func split(text string, stderr bool, sizes []byte) (s *stream, out string, marks []string) {
	var got bytes.Buffer
	s = newStream(testNonce, newCapped(&got, 1<<20), stderr)
	for i := 0; len(text) > 0; i++ {
		n := len(text)
		if len(sizes) > 0 {
			n = min(n, 1+int(sizes[i%len(sizes)]))
		}
		s.write([]byte(text[:n]), func(m string) { marks = append(marks, m) })
		text = text[n:]
	}
	s.flush()
	return s, got.String(), marks
}

// FuzzStream holds the splitter to its promises: however the bytes arrive, the
// output is all that stands between the two nonces, and no more.
func FuzzStream(f *testing.F) {
	f.Add("banner\n", "output", "0 {}\nbye", []byte{0}, true)
	f.Add("", "bwrap: execvp x: No such file", "1 ", []byte{3, 1}, true)
	f.Add("\x02ABCDEFGH", testNonce[:20], "", []byte{19, 0, 200}, false)
	f.Add(strings.Repeat("x", 3*maxNoise), "\x02"+testNonce[:5], "x", []byte{255}, true)
	f.Add(strings.Repeat("y", 3*maxNoise), "out", "0", []byte{}, true)
	f.Add("a", "sh: "+strings.Repeat("y", 2*maxHeld), strings.Repeat("z", 2*maxTrailer), []byte{7}, true)
	f.Fuzz(func(t *testing.T, noise, output, trailer string, sizes []byte, stderr bool) {
		if len(noise)+len(output)+len(trailer) > 100<<10 {
			return // longer text only takes longer
		}
		for _, s := range []string{noise, output, trailer} {
			if strings.Contains(s, testNonce) {
				return // nobody but us knows the nonce
			}
		}
		text := noise + testNonce + " 12 34\n" + output + testNonce + trailer
		s, got, marks := split(text, stderr, sizes)
		if got != output {
			t.Errorf("output %q, want %q", got, output)
		}
		if len(marks) != 1 || marks[0] != "12 34" || !s.begun || !s.ended {
			t.Errorf("marks %q, begun %v, ended %v", marks, s.begun, s.ended)
		}
		if want := trailer[:min(len(trailer), maxTrailer)]; string(s.trailer) != want {
			t.Errorf("trailer %q, want %q", s.trailer, want)
		}
		if s.to.total() != int64(len(output)) {
			t.Errorf("counted %d bytes of %d", s.to.total(), len(output))
		}
		if want := noise[max(0, len(noise)-maxNoise):]; !strings.HasSuffix(want, string(s.noise)) {
			t.Errorf("noise %q is not the end of %q", s.noise, want)
		}
		if _, cut, _ := split(text[:len(text)-len(testNonce)-len(trailer)], stderr, sizes); cut != output {
			t.Errorf("output without an end %q, want %q", cut, output)
		}
	})
}

// TestStreamHolds: what may be bubblewrap's own words is shown to nobody before
// it is known whether the command ran, anything else at once.
func TestStreamHolds(t *testing.T) {
	for _, tt := range []struct {
		text string
		held bool
	}{
		{"b", true}, {"bwrap", true}, {"bwrap: x", true}, {"bowline: 1: exec", true}, {"sh: x", true}, {"unshare: x", true}, {"mount: x", true},
		{"x", false}, {"bwrapped", false}, {" bwrap: ", false}, {"bwrap: " + strings.Repeat("x", maxHeld), false},
	} {
		var got bytes.Buffer
		s := newStream(testNonce, newCapped(&got, 1<<20), true)
		s.write([]byte(testNonce+"\n"+tt.text), func(string) {})
		if held := got.Len() == 0; held != tt.held {
			t.Errorf("%.20q: held %v", tt.text, held)
		}
		s.flush()
		if got.String() != tt.text {
			t.Errorf("%.20q: flushed %.20q", tt.text, got.String())
		}
	}
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		trailer  string
		code     int
		executed bool
	}{
		{` 0 { "child-pid": 3 } { "exit-code": 0 }` + "\n", 0, true},
		{` 42 { "child-pid": 3, "ipc-namespace": 4 } { "exit-code": 42 }` + "\nlogout noise { \"exit-code\": 9 }", 42, true},
		{` 1 { "child-pid": 3 }` + "\n", 1, false},
		{" 127\n", 127, false},
		{" 137 {", 137, false},
		{"", 125, false},
		{" x y", 125, false},
	} {
		if code, executed := status(tt.trailer); code != tt.code || executed != tt.executed {
			t.Errorf("status(%q) = %d, %v", tt.trailer, code, executed)
		}
	}
}

func TestParseLeader(t *testing.T) {
	for _, tt := range []struct {
		mark string
		want leader
		ok   bool
	}{
		{"12 34", leader{12, 34}, true}, {"12 12", leader{12, 12}, true}, {"12", leader{12, 12}, true}, {"12 0", leader{12, 12}, true}, {"12 1", leader{12, 12}, true},
		{"1 1", leader{}, false}, {"-5 9", leader{}, false}, {"", leader{}, false}, {"x", leader{}, false},
	} {
		if got, ok := parseLeader(tt.mark); got != tt.want || ok != tt.ok {
			t.Errorf("parseLeader(%q) = %v, %v", tt.mark, got, ok)
		}
	}
}

// TestDetached: once a run is over, nobody writes to what its caller owns.
func TestDetached(t *testing.T) {
	var got bytes.Buffer
	c := newCapped(&got, 10)
	_, _ = c.Write([]byte("123456"))
	c.detach()
	_, _ = c.Write([]byte("789"))
	if got.String() != "123456" || c.total() != 9 || c.truncated() {
		t.Errorf("%q, %d bytes", got.String(), c.total())
	}
}
