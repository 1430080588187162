package tui_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestPicture draws the picture of the README from a real terminal:
//
//	PICTURE=$PWD/docs/pictures/review.svg go test -run TestPicture ./internal/tui
//
// Without PICTURE it only checks that there is what it would draw.
func TestPicture(t *testing.T) {
	_, release := site(t)
	release()
	w := newWorld(t)
	id := w.plan("deploy.sh", deploy, "--name", "deploy", "--note", "more workers")
	x := w.start(120, 30, "review", id)
	x.see("Risks", "firewall")
	x.press("a")
	x.see("Approve this, once", "y approve")
	shot := simple(x.do("capture-pane", "-e", "-p"))
	if !strings.Contains(shot, "\x1b[31;1m") {
		t.Errorf("no colours: %q", shot)
	}
	if os.Getenv("PICTURE") == "" {
		return
	}
	shot = strings.ReplaceAll(x.hide.Replace(shot), "@HOST", "@desk")
	shot = strings.ReplaceAll(shot, id, "20261121-deploy-a3f2")
	shot = regexp.MustCompile(`expires in \d\d:\d\d`).ReplaceAllString(shot, "expires in 58:41")
	shot = regexp.MustCompile(`\d+s`).ReplaceAllString(shot, "1m")
	draw := exec.Command("go", "run", "../termshot", "-width", "120", "-title", "bowline review")
	draw.Stdin = strings.NewReader(strings.TrimRight(shot, "\n"))
	svg, err := draw.Output()
	if err == nil {
		err = os.WriteFile(os.Getenv("PICTURE"), svg, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// simple writes each style of a capture as one of those that termshot knows; tmux
// says only what changes.
func simple(capture string) string {
	var b strings.Builder
	var boldOn, faintOn bool
	colour := ""
	parts := strings.Split(capture, "\x1b[")
	b.WriteString(parts[0])
	for _, part := range parts[1:] {
		codes, text, _ := strings.Cut(part, "m")
		for c := range strings.SplitSeq(codes, ";") {
			switch {
			case c == "0" || c == "":
				boldOn, faintOn, colour = false, false, ""
			case c == "1":
				boldOn = true
			case c == "2":
				faintOn = true
			case len(c) == 2 && c[0] == '3':
				colour = strings.TrimSuffix(c, "9")
			}
		}
		style := "0"
		switch {
		case colour == "31":
			style = "31;1"
		case colour != "" && colour != "3":
			style = colour
		case boldOn:
			style = "1"
		case faintOn:
			style = "2"
		}
		b.WriteString("\x1b[" + style + "m" + text)
	}
	return b.String()
}
