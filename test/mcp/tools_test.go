package mcp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// maxSchemas is what all tools together may cost a model, in bytes of JSON: about 4,000
// tokens.
const maxSchemas = 16_000

// TestTools: few, small, and each says what it does and what comes back.
func TestTools(t *testing.T) {
	w := newWorld(t, 1)
	a := w.connect("reader", nil)
	res, err := a.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := json.Marshal(res.Tools)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Tools) > 12 || len(all) > maxSchemas {
		t.Errorf("%d tools of %d bytes", len(res.Tools), len(all))
	}
	t.Logf("%d tools, %d bytes", len(res.Tools), len(all))
	changing := map[string]bool{}
	for _, x := range res.Tools {
		if x.Title == "" || x.Description == "" || x.InputSchema == nil || x.OutputSchema == nil || x.Annotations == nil || x.Annotations.DestructiveHint == nil || x.Annotations.OpenWorldHint == nil {
			t.Errorf("%s is not described: %+v", x.Name, x)
		}
		if b, _ := json.Marshal([]any{x.InputSchema, x.OutputSchema}); strings.Contains(string(b), `"null"`) {
			t.Errorf("%s has a schema that simple clients do not read: %s", x.Name, b)
		}
		if !x.Annotations.ReadOnlyHint && *x.Annotations.DestructiveHint {
			changing[x.Name] = true
		}
	}
	if len(changing) != 3 || !changing["apply"] || !changing["rollback"] || !changing["copy"] {
		t.Errorf("these are said to change hosts or files: %v", changing)
	}
}

// TestOlderTools: the names that earlier systems had, behind a flag.
func TestOlderTools(t *testing.T) {
	w := newWorld(t, 1)
	w.bowline("target", "default", "web1")
	a := w.connect("older", nil, "--older-tools", "-p", "readonly")
	for _, name := range []string{"sandbox_web1_readonly", "sandbox_readonly"} {
		if got := a.must(name, map[string]any{"command": []string{"echo", "hello"}}); got.first("stdout") != "hello\n" {
			t.Errorf("%s: %s", name, got.text)
		}
	}
	b := w.connect("newer", nil)
	if r, err := b.tryCall(t.Context(), "sandbox_readonly", map[string]any{"command": []string{"true"}}); err == nil && !r.failed {
		t.Error("it is there without the flag")
	}
}

// TestPromptsAndResources: what clients list, they can get.
func TestPromptsAndResources(t *testing.T) {
	w := newWorld(t, 1)
	a := w.connect("reader", nil)
	prompts, err := a.ListPrompts(t.Context(), nil)
	if err != nil || len(prompts.Prompts) != 5 {
		t.Fatalf("%v, %v", prompts, err)
	}
	for _, p := range prompts.Prompts {
		args := map[string]string{"target": "web1", "service": "nginx", "path": "/srv\n\x1b[2Jdata"}
		got, err := a.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: p.Name, Arguments: args})
		if err != nil {
			t.Fatal(err)
		}
		text := got.Messages[0].Content.(*mcp.TextContent).Text
		if !strings.Contains(text, "web1") || strings.ContainsAny(text, "{}\n\x1b") {
			t.Errorf("%s: %q", p.Name, text)
		}
		if len(p.Arguments) > 1 && !strings.Contains(text, args[p.Arguments[1].Name][:4]) {
			t.Errorf("%s leaves %s out: %q", p.Name, p.Arguments[1].Name, text)
		}
	}
	id := a.must("propose", map[string]any{"target": "web1", "argv": []string{"touch", w.site + "/x"}, "note": "why"}).str("session")
	for uri, want := range map[string]string{
		"bowline://targets": `"web1"`, "bowline://profiles": `"readonly"`, "bowline://sessions": id, "bowline://sessions/" + id: "pending", "bowline://plans/" + id: w.site + "/x",
	} {
		res, err := a.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri})
		if err != nil || !strings.Contains(res.Contents[0].Text, want) {
			t.Errorf("%s: %+v, %v", uri, res, err)
		}
	}
	for _, uri := range []string{"bowline://none", "bowline://sessions/20261121-none-a3f2", "file:///etc/passwd", "bowline://plans/../../etc/passwd", "bowline://outputs/x", "bowline://targets/x"} {
		if res, err := a.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri}); err == nil {
			t.Errorf("%s: %+v", uri, res)
		}
	}
	c, err := a.Complete(t.Context(), &mcp.CompleteParams{Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "health"}, Argument: mcp.CompleteParamsArgument{Name: "target", Value: "we"}})
	if err != nil || len(c.Completion.Values) != 1 || c.Completion.Values[0] != "web1" {
		t.Errorf("completion: %+v, %v", c, err)
	}
}

// TestCopy: files come and go verified, in allowed directories.
func TestCopy(t *testing.T) {
	w := newWorld(t, 1)
	root := t.TempDir()
	write(t, root+"/in", "to the target\n")
	a := w.connect("carrier", nil, "--root", root)
	if got := a.must("copy", map[string]any{"from": root + "/in", "to": "web1:" + w.site + "/there"}); !strings.Contains(got.text, "verified") || read(t, w.site+"/there") != "to the target\n" {
		t.Errorf("up: %s", got.text)
	}
	if got := a.must("copy", map[string]any{"from": "web1:" + w.site + "/there", "to": root + "/back"}); read(t, root+"/back") != "to the target\n" {
		t.Errorf("down: %s", got.text)
	}
}
