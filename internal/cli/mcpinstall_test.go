package cli_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestInstalledStarts starts what a client would, with nothing but what was written, and
// gets an answer.
func TestInstalledStarts(t *testing.T) {
	home := t.TempDir()
	program := filepath.Join(os.Getenv("BOWLINE_BIN_DIR"), "bowline")
	install := exec.Command(program, "mcp", "install", "--client", "claude-code", "-t", "local", "-p", "readonly")
	install.Env = []string{"HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, "c"), "XDG_STATE_HOME=" + filepath.Join(home, "s"), "PATH=" + os.Getenv("PATH")}
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(home, ".claude.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		MCPServers map[string]struct {
			Type, Command string
			Args          []string
			Env           map[string]string
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	s := doc.MCPServers["bowline"]
	if s.Type != "stdio" || s.Command != program {
		t.Errorf("%+v", s)
	}
	cmd := exec.CommandContext(t.Context(), s.Command, s.Args...)
	cmd.Dir, cmd.Env = "/", []string{"HOME=" + home}
	for k, v := range s.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}` + "\n"
	if _, err := io.WriteString(in, hello); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		ID     int
		Result struct{ ServerInfo struct{ Name string } }
	}
	if err := json.Unmarshal(line, &answer); err != nil || answer.ID != 1 || answer.Result.ServerInfo.Name == "" {
		t.Errorf("%s: %v", line, err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	// It used the places it was told.
	if _, err := os.Stat(filepath.Join(home, ".config")); err == nil {
		t.Error("it looked for its files in the usual place")
	}
}
