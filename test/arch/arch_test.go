// Package arch holds the laws of the source tree as tests: who may import whom,
// that every package says what it is for, and what each program may link.
package arch

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/bowline-sh/bowline"

// rules is the dependency law: packages that match pkg import from this module
// only what matches mayImport; "." is the root package. The first rule counts. A
// package without a rule fails the test, so that giving it a place is a decision
// someone makes.
var rules = []struct{ pkg, mayImport string }{
	// L0: values and bytes; they know no target.
	{`diag|target|profile|change`, `nothing`},
	{`plan`, `change`},
	{`profile/profilefile`, `profile`},
	{`internal/(durable|redact|frame)`, `diag`},
	{`internal/safepath`, `diag|change`},
	{`internal/(mcpclient|token)`, `nothing`},
	{`internal/freeze`, `diag|internal/durable`},
	// Tests only.
	{`internal/testkit|internal/\w+/\w+test`, `.*`},
	// L1: one concern each.
	{`internal/transport`, `nothing`},
	{`internal/transport/ssh`, `diag|target|internal/transport`},
	{`internal/transport/framed`, `internal/(frame|transport)`},
	{`internal/transport/https`, `diag|target|internal/(transport|transport/framed)`},
	{`internal/transport/local`, `internal/transport`},
	{`internal/sshsig`, `nothing`},
	{`internal/store`, `plan`},
	{`internal/work`, `nothing`},
	{`internal/store/sqlstore`, `plan|internal/(store|work)`},
	{`internal/store/(sqlite|postgres)`, `internal/(store|store/sqlstore)`},
	{`internal/witness`, `internal/(audit|durable|store)`},
	{`internal/worker`, `internal/work`},
	{`internal/helperbin`, `nothing`},
	{`internal/helperbin/build`, `internal/helperbin`},
	{`internal/link`, `diag|target|internal/(transport|frame|helperbin|sandbox)`},
	{`internal/sandbox`, `diag|profile|internal/(freeze|transport)`},
	{`internal/sandbox/attack`, `diag|profile|internal/(transport|sandbox)`},
	{`internal/overlay(/.*)?`, `diag|change|plan|internal/(durable|overlay/.*)`},
	{`internal/(checkpoint|journal)`, `diag|change|plan|internal/(durable|safepath|journal)`},
	{`internal/apply`, `diag|change|plan|internal/(durable|safepath|journal|checkpoint)`},
	{`internal/transfer`, `diag`},
	{`internal/transfer/agentless`, `diag|internal/(freeze|transfer|transport|sandbox)`},
	{`internal/policy`, `diag|plan|change|target|profile`},
	{`internal/config`, `diag|target|profile|profile/profilefile|change|internal/(durable|policy)`},
	{`internal/audit`, `diag|internal/(durable|redact)`},
	// L2: what the product does; helper is its far side.
	{`internal/executor`, `diag|target|profile|internal/(audit|caller|frame|freeze|helper|link|policy|sandbox|transfer|transfer/agentless|transport)`},
	{`internal/transfer/copier`, `diag|target|internal/(audit|frame|freeze|helper|link|policy|transfer|transfer/agentless|transport)`},
	{`internal/caller`, `nothing`},
	{`internal/engine`, `diag|target|plan|change|profile|internal/(audit|caller|frame|freeze|helper|link|policy|store|transport)`},
	{`internal/podman`, `diag|internal/transport`},
	{`internal/box/setup`, `nothing`},
	{`internal/recipe`, `diag`},
	{`internal/box`, `diag|target|internal/(audit|freeze|gitrepo|link|podman|policy|recipe|sshentry|transport)`},
	{`internal/gate`, `diag|plan|change|internal/(caller|policy|review)`},
	{`internal/sshentry`, `diag|internal/durable`},
	{`internal/gitrepo`, `diag`},
	{`internal/fleet`, `nothing`},
	{`internal/authkeys`, `nothing`},
	{`internal/foreign`, `target`},
	{`internal/keys`, `diag|target|internal/(audit|authkeys|durable|transport|transport/ssh)`},
	{`internal/receipt`, `plan|internal/audit`},
	{`internal/inventory`, `diag|target|profile|internal/(audit|durable|freeze|link|sandbox|sandbox/attack|transport|transport/ssh)`},
	{`internal/warm`, `diag|target|internal/(durable|frame|link|transport|transport/framed)`},
	{`internal/helper`, `diag|change|plan|profile|internal/(safepath|durable|frame|freeze|sandbox|transport/local|overlay|overlay/deferral|apply|transfer)`},
	// L3 and L4: the only package that knows them all, and the only door.
	{`internal/wire`, `.*`},
	{`\.`, `diag|target|profile|plan|change|internal/(wire|box|box/setup|caller|engine|helper|store|store/sqlstore|work|token|audit|receipt|sshsig|fleet|freeze|durable|gate|policy|warm|executor|foreign|inventory|keys|recipe|sandbox|config|transport|transport/ssh|transfer|transfer/copier)`},
	// L5: surfaces see the door and its values.
	{`internal/cli`, `\.|diag|target|profile|profile/profilefile|plan|change|internal/(durable|review|neutral|tui|mcp|mcpclient|serve|spans|login)`},
	{`internal/mcp`, `\.|diag|profile|plan|change|internal/(review|neutral)`},
	{`internal/login`, `\.|diag`},
	{`internal/login/oidc`, `\.|diag|internal/login`},
	{`internal/serve`, `\.|diag|internal/(login|login/oidc|api|spans|web|mcp)`},
	{`internal/api`, `\.|diag|plan|internal/(login|review)`},
	{`internal/web`, `\.|diag|plan|change|internal/(login|login/oidc|review|neutral)`},
	{`internal/tui`, `\.|diag|plan|change|internal/(review|neutral)`},
	{`internal/(neutral|spans)`, `nothing`},
	{`internal/review`, `diag|plan|change`},
	{`internal/gendocs`, `internal/cli`},
	{`internal/termshot`, `nothing`},
	{`cmd/bowline`, `internal/cli`},
	{`cmd/bowline-helper`, `internal/helper`},
	{`test/.*`, `.*`},
}

type pkg struct {
	ImportPath string
	Name       string
	Dir        string
	Doc        string
	Imports    []string
	GoFiles    []string
}

// packages lists the packages of this module, for the build of this machine.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Dir,Doc,Imports,GoFiles", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("only %d packages found", len(list))
	}
	return list
}

func local(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := local(p.ImportPath)
		allowed := ""
		for _, r := range rules {
			if regexp.MustCompile(`^(?:` + r.pkg + `)$`).MatchString(name) {
				allowed = r.mayImport
				break
			}
		}
		if allowed == "" {
			t.Errorf("%s has no rule; give it a place in test/arch", name)
			continue
		}
		re := regexp.MustCompile(`^(?:` + allowed + `)$`)
		for _, imp := range p.Imports {
			if dep, ok := local(imp); ok && !re.MatchString(dep) {
				t.Errorf("%s must not import %s", name, dep)
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// forbidden folder names say nothing about what is inside.
var forbidden = regexp.MustCompile(`(?i)^(utils?|common|types|helpers|misc|manager|shared|lib)$`)

func TestFolderNames(t *testing.T) {
	for _, p := range packages(t) {
		if base := filepath.Base(p.ImportPath); forbidden.MatchString(base) {
			t.Errorf("%s: name the folder after what it holds", p.ImportPath)
		}
	}
}

// TestNoInit keeps start-up and tests free of hidden work.
func TestNoInit(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s/%s declares init", p.ImportPath, f)
				}
			}
		}
	}
}

// TestSelfContained: the project speaks of itself alone.
func TestSelfContained(t *testing.T) {
	if _, err := os.Stat("../../LICENSE"); err != nil {
		t.Error(err)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Replace}}", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Trim(string(out), "<nil>\n") != "" {
		t.Errorf("go.mod has replace directives: %s", out)
	}
}

// TestHelpIsDocumented: docs/cli.md and the man pages are the help texts.
func TestHelpIsDocumented(t *testing.T) {
	cmd := exec.Command("go", "run", "./internal/gendocs", "-check")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// notInHelper is what the helper must not link, with the reason.
var notInHelper = map[string]string{
	`^net/http`:                     "no HTTP on other people's machines",
	`^golang.org/x/crypto/ssh`:      "no SSH: the client has the keys",
	`^database/sql`:                 "no database",
	`^github.com/spf13/`:            "no command line",
	`^html/template|^text/template`: "templates keep all methods alive",
	`^crypto/tls`:                   "no TLS",
	module + `/profile/profilefile`: "profiles come validated, over the link",
	module + `/internal/(cli|config|audit|wire|transport/ssh|link|executor|inventory|keys|authkeys|foreign)`: "the helper decides nothing",
}

func TestHelperBudget(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", module+"/cmd/bowline-helper")
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		for pattern, why := range notInHelper {
			if regexp.MustCompile(pattern).MatchString(strings.TrimSpace(dep)) {
				t.Errorf("the helper links %s: %s", strings.TrimSpace(dep), why)
			}
		}
	}
	bin := filepath.Join(t.TempDir(), "helper")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, module+"/cmd/bowline-helper")
	build.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	// The goal is 4 MiB; docs/rough-edges.md says what is in the way.
	if info.Size() > 4<<20+640<<10 {
		t.Errorf("the helper has %d bytes, more than 4.625 MiB", info.Size())
	}
}
