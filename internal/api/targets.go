package api

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

func whoAmI(c *call) (any, error) {
	v := c.visitor
	return Me{Token: v.ID, Name: v.Name, User: v.User, Scopes: words(v.Scopes), Targets: v.Targets, Profiles: v.Profiles, Expires: v.Expires}, nil
}

func words[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = string(w)
	}
	return out
}

func listTargets(c *call) (any, error) {
	list, err := c.Targets(c, c.query("selector"))
	if err != nil {
		return nil, err
	}
	sees := c.visitor.Sees()
	out := Targets{Targets: []Target{}}
	for _, t := range list {
		if sees(t.Name) {
			out.Targets = append(out.Targets, newTarget(t))
		}
	}
	return out, nil
}

func testTarget(c *call) (any, error) {
	if err := c.sees(c.path("name")); err != nil {
		return nil, err
	}
	rep, err := c.TestTarget(c, c.path("name"), false)
	if err != nil {
		return nil, err
	}
	out := Checks{Target: rep.Target, OK: rep.OK(), Checks: []Check{}}
	for _, k := range rep.Checks {
		out.Checks = append(out.Checks, Check{Name: k.Name, OK: k.OK, Detail: k.Detail, Hint: k.Hint})
	}
	return out, nil
}

func listProfiles(c *call) (any, error) {
	list, err := c.Profiles(c)
	if err != nil {
		return nil, err
	}
	out := Profiles{Profiles: []Profile{}}
	for _, p := range list {
		if may := c.visitor.Profiles; len(may) > 0 && !slices.Contains(may, p.Profile.Name) {
			continue
		}
		x := Profile{Name: p.Profile.Name, Origin: p.Origin, Description: p.Profile.Description, Commands: p.Profile.AllowedCommands, Network: !p.Profile.NetworkIsolation}
		if p.Err != nil {
			x.Error = p.Err.Error()
		}
		out.Profiles = append(out.Profiles, x)
	}
	return out, nil
}

func explainPolicy(c *call) (any, error) {
	q, err := body[PolicyQuestion](c)
	if err != nil {
		return nil, err
	}
	name, err := c.named(q.Target)
	if err != nil {
		return nil, err
	}
	a, err := c.ExplainPolicy(c, bowline.PolicyQuestion{Do: q.Do, Target: name, Profile: q.Profile, Argv: q.Argv, Script: script(q.Script)})
	return PolicyAnswer{Decision: a.Decision, Rule: a.Rule, Reason: a.Reason, Hint: a.Hint, Do: a.Do, Commands: a.Commands, Unseen: a.Unseen}, err
}

func script(text string) []byte {
	if text == "" {
		return nil
	}
	return []byte(text)
}

// named returns the target that a request names, or the default one, if the visitor sees
// it.
func (c *call) named(name string) (string, error) {
	if name == "" {
		list, err := c.Targets(c, "")
		if err != nil {
			return "", err
		}
		for _, t := range list {
			if t.Default {
				name = t.Name
			}
		}
	}
	return name, c.sees(name)
}

func run(c *call) (any, error) {
	in, err := body[RunRequest](c)
	if err != nil {
		return nil, err
	}
	name, err := c.named(in.Target)
	if err != nil {
		return nil, err
	}
	req := bowline.RunRequest{Target: name, Profile: in.Profile, Argv: in.Argv, Env: in.Env, Secrets: in.Secrets, Cwd: in.Cwd, Timeout: seconds(in.Seconds), Script: script(in.Script)}
	if req.Script != nil {
		if req.Argv, err = bowline.ScriptArgv(req.Script, in.Argv); err != nil {
			return nil, err
		}
	}
	if len(in.Stdin) > 0 {
		req.Stdin = strings.NewReader(string(in.Stdin))
	}
	if c.events != nil {
		req.Stdout, req.Stderr, req.Discard = output{c.events, "stdout"}, output{c.events, "stderr"}, true
	}
	r, err := c.Run(c, req)
	return RunResult{Target: r.Target, Profile: r.Profile, Argv: r.Argv, ExitCode: r.ExitCode, Signal: r.Signal, Stdout: r.Stdout, Stderr: r.Stderr, StdoutBytes: r.StdoutBytes,
		StderrBytes: r.StderrBytes, Millis: float64(r.Duration.Microseconds()) / 1000, TimedOut: r.TimedOut, Truncated: r.Truncated, AuditID: r.AuditID}, err
}

// maxFile bounds a file that is copied through the server, in bytes.
const maxFile = 4 << 30

// Copied is what became of an upload.
type Copied struct {
	Path   string `json:"path"`
	Status string `json:"status"` // "verified", or the request failed
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Audit  string `json:"audit_id"`
}

// through lends a name in a private directory.
func through(f func(file string) error) error {
	dir, err := os.MkdirTemp("", "bowline-copy-")
	if err != nil {
		return err
	}
	return errors.Join(f(filepath.Join(dir, "content")), os.RemoveAll(dir))
}

// place reads which file of which target a request is about.
func (c *call) place() (bowline.CopyLocation, error) {
	at := bowline.CopyLocation{Target: c.path("name"), Path: c.query("path")}
	if at.Path == "" || at.Path == "-" || strings.ContainsAny(at.Path, "*?[") {
		return at, diag.New(diag.Usage, "copy", "as in ?path=/etc/hosts", "one path of the target is needed, without *, ? and [")
	}
	return at, c.sees(at.Target)
}

func download(c *call) (any, error) {
	from, err := c.place()
	if err != nil {
		return nil, err
	}
	return nil, through(func(file string) error {
		if _, err := c.Copy(c, bowline.CopyRequest{Sources: []bowline.CopyLocation{from}, Dest: bowline.CopyLocation{Path: file}}); err != nil {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		return c.sendFile(f, path.Base(from.Path))
	})
}

// sendFile answers with a file, which no browser shows as anything but a file.
func (c *call) sendFile(r io.Reader, name string) error {
	h := c.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", "attachment; filename*=UTF-8''"+escapeName(name))
	_, err := io.Copy(c.w, r)
	if err != nil {
		panic(http.ErrAbortHandler) // half of it is sent: only an answer that is cut off says so
	}
	return nil
}

// escapeName encodes a file's name (RFC 8187).
func escapeName(name string) string {
	var b strings.Builder
	for _, x := range []byte(name) {
		if x >= 'a' && x <= 'z' || x >= 'A' && x <= 'Z' || x >= '0' && x <= '9' || x == '.' || x == '-' || x == '_' {
			b.WriteByte(x)
		} else {
			fmt.Fprintf(&b, "%%%02X", x)
		}
	}
	return b.String()
}

func upload(c *call) (any, error) {
	to, err := c.place()
	if err != nil {
		return nil, err
	}
	req := bowline.CopyRequest{Dest: to, Owner: c.query("owner")}
	if text := c.query("mode"); text != "" {
		m, err := strconv.ParseUint(text, 8, 12)
		if err != nil {
			return nil, diag.New(diag.Usage, "copy", "as in ?mode=0644", "%q is no mode", text)
		}
		mode := uint32(m)
		req.Mode = &mode
	}
	var out Copied
	err = through(func(file string) error {
		if err := c.receive(file); err != nil {
			return err
		}
		req.Sources = []bowline.CopyLocation{{Path: file}}
		r, err := c.Copy(c, req)
		if err != nil {
			return err
		}
		for _, f := range r.Files {
			out = Copied{Path: to.Path, Status: f.Status, Bytes: f.Size, SHA256: f.SHA256, Audit: r.AuditID}
		}
		return nil
	})
	return out, err
}

// receive writes the request's body to a file.
func (c *call) receive(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, http.MaxBytesReader(c.w, c.request.Body, maxFile))
	return cmp.Or(err, f.Close())
}
