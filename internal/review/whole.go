package review

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// whole looks at what only the plan as a whole shows.
func (j *judge) whole() {
	j.dpkgLists()
	j.deletions()
	j.logs()
	j.programs()
	j.kernelModules()
	j.dryRun()
}

func (j *judge) add(class Class, sev Severity, op int, text string, ev ...Evidence) {
	j.risks = append(j.risks, Risk{Class: class, Severity: sev, Op: op, Text: text, Evidence: ev})
}

func (j *judge) dryRun() {
	p := j.plan
	if p.Exit != 0 {
		j.add(ScriptFailed, High, 0, fmt.Sprintf("the script ended with exit code %d in the dry run: it may have stopped half way, and what it did until then is the plan", p.Exit))
	}
	if p.Mode == plan.User {
		j.add(NotSeen, Medium, 0, "the dry run was made as an ordinary user: it shows no change to files of other owners")
	}
	for _, w := range p.Warnings {
		j.add(NotSeen, Medium, 0, "the dry run warns: "+clip(w))
	}
}

// Deletions. What is deleted is counted by directory; a directory that goes itself
// is gone as a whole, the share that is deleted of one that stays is not known.

// From how many files, and bytes, deletions are a risk.
const (
	manyFiles = 50
	massFiles = 1000
	massBytes = 1 << 30
)

func (j *judge) deletions() {
	files, size := 0, int64(0)
	gone := map[change.Path]int{} // directories, and the operation
	first := 0
	for i, op := range j.plan.Ops {
		c := op.Change
		if c == nil || c.Kind() != change.Delete {
			continue
		}
		switch {
		case c.Before.Type == change.Dir:
			gone[c.Path] = i + 1
		default:
			files++
			size += c.Before.Size
			if first == 0 {
				first = i + 1
			}
			j.deletedData(i+1, c)
		}
	}
	j.goneDirs(gone)
	switch {
	case files >= massFiles || size >= massBytes:
		j.add(Deletions, High, 0, fmt.Sprintf("%d files with %d bytes are deleted", files, size), Evidence{Op: first})
	case files >= manyFiles:
		j.add(Deletions, Medium, 0, fmt.Sprintf("%d files with %d bytes are deleted", files, size), Evidence{Op: first})
	}
}

// goneDirs reports the topmost deleted directories that matter.
func (j *judge) goneDirs(gone map[change.Path]int) {
	count := map[change.Path]int{}
	size := map[change.Path]int64{}
	over := tops{gone, map[change.Path]change.Path{}}
	var whole []change.Path
	for p := range gone {
		if over.of(p) == p {
			whole = append(whole, p)
		}
	}
	for _, op := range j.plan.Ops {
		if c := op.Change; c != nil && c.Kind() == change.Delete && c.Before.Type != change.Dir {
			top := over.of(c.Path)
			count[top]++
			size[top] += c.Before.Size
		}
	}
	slices.Sort(whole)
	for _, p := range whole {
		if sev := dirWeight(string(p), count[p]); sev > 0 {
			j.add(Deletions, sev, gone[p], fmt.Sprintf("the whole directory %s is deleted, with %d files and %d bytes", clip(string(p)), count[p], size[p]), Evidence{Op: gone[p]})
		}
	}
}

// tops finds the highest deleted directory that holds a path. It remembers what it
// found, for a target may send long paths.
type tops struct {
	gone  map[change.Path]int
	known map[change.Path]change.Path
}

// of returns that directory, p itself if it is one, or "".
func (t tops) of(p change.Path) change.Path {
	if top, ok := t.known[p]; ok {
		return top
	}
	var top change.Path
	if i := strings.LastIndexByte(string(p), '/'); i > 0 {
		top = t.of(p[:i])
	}
	if top == "" && t.gone[p] > 0 {
		top = p
	}
	t.known[p] = top
	return top
}

// dirWeight of a directory that goes as a whole: by what it is, then by how much
// is in it.
func dirWeight(p string, files int) Severity {
	depth := strings.Count(p, "/")
	data := below("/var/lib/", "/home/", "/srv/", "/opt/", "/etc/", "/var/www/", "/var/backups/")(p)
	switch {
	case below("/tmp/", "/var/tmp/", "/var/cache/", "/run/")(p):
		return 0
	case depth == 1, depth == 2 && below("/home/", "/var/", "/usr/", "/boot/")(p), depth == 3 && strings.HasPrefix(p, "/var/lib/"):
		return High
	case files >= massFiles:
		return High
	case files >= manyFiles, data && files > 0 && depth <= 3:
		return Medium
	}
	return 0
}

func (j *judge) deletedData(op int, c *change.Change) {
	p := string(c.Path)
	switch path.Ext(p) {
	case ".sqlite", ".sqlite3", ".db", ".mdb", ".ibd", ".frm", ".qcow2", ".vmdk", ".img":
		if c.Before.Size > 0 && !below("/tmp/", "/var/tmp/", "/var/cache/", "/run/")(p) {
			j.add(Deletions, Medium, op, fmt.Sprintf("a file of data is deleted: %s, %d bytes", clip(p), c.Before.Size), Evidence{Op: op})
		}
	}
}

// Logs.

func isLog(p string) bool {
	return strings.HasPrefix(p, "/var/log/") || base(".bash_history", ".zsh_history", ".ash_history", ".python_history", ".mysql_history", ".psql_history", "wtmp", "utmp", "btmp", "lastlog", "faillog")(p) && below("/home/", "/root/", "/var/")(p)
}

func (j *judge) logs() {
	kept := map[string]bool{} // contents that are still there under another name
	for _, op := range j.plan.Ops {
		if c := op.Change; c != nil && c.After.Type == change.File {
			kept[c.After.SHA256] = true
		}
	}
	rotates := j.rotated()
	for i, op := range j.plan.Ops {
		if c := op.Change; c != nil && isLog(string(c.Path)) {
			j.log(i+1, *c, kept, rotates)
		}
	}
}

// rotated returns the logs that get a compressed older copy in this plan.
func (j *judge) rotated() map[string]bool {
	out := map[string]bool{}
	for _, op := range j.plan.Ops {
		c := op.Change
		if c == nil || c.After.Type != change.File || c.After.Size == 0 || !c.Before.Absent() {
			continue
		}
		p := string(c.Path)
		for _, ext := range []string{".gz", ".xz", ".zst", ".bz2"} {
			if rest, ok := strings.CutSuffix(p, ext); ok {
				out[rest] = true
				if at := strings.LastIndexAny(rest, ".-"); at > 0 {
					out[rest[:at]] = true
				}
			}
		}
	}
	return out
}

func (j *judge) log(op int, c change.Change, kept, rotates map[string]bool) {
	b, a, p := c.Before, c.After, clip(string(c.Path))
	ev := Evidence{Op: op, After: !a.Absent()}
	switch {
	case b.Absent() || b.Type == change.Dir || b.Type == change.Symlink:
	case b.Type == change.File && b.Size == 0 && a.Type != change.Symlink:
	case a.Type == change.Symlink:
		j.add(LogTampering, High, op, fmt.Sprintf("the log %s becomes a symlink to %s: nothing is recorded there any more", p, clip(string(a.Target))), ev)
	case kept[b.SHA256] || rotates[string(c.Path)]: // moved, as logrotate does
	case a.Absent():
		j.add(LogTampering, j.logWeight(p), op, fmt.Sprintf("the log %s is deleted, %d bytes", p, b.Size), ev)
	case b.SHA256 == a.SHA256:
	case a.Size < b.Size:
		j.add(LogTampering, High, op, fmt.Sprintf("the log %s is cut from %d to %d bytes", p, b.Size, a.Size), ev)
	default:
		j.logEdited(op, c, ev)
	}
}

func (j *judge) logWeight(p string) Severity {
	for _, word := range []string{"audit", "auth.log", "secure", "wtmp", "btmp", "lastlog", "journal", "syslog", "messages", "_history", "sudo"} {
		if strings.Contains(p, word) {
			return High
		}
	}
	return Medium
}

// logEdited tells writing more from writing otherwise.
func (j *judge) logEdited(op int, c change.Change, ev Evidence) {
	before, okB := contentOf(c.Before, j.contents)
	after, okA := contentOf(c.After, j.contents)
	p := clip(string(c.Path))
	records := base("wtmp", "btmp", "lastlog", "faillog")(string(c.Path))
	switch {
	case !okB || !okA:
		if !records {
			j.add(LogTampering, Low, op, fmt.Sprintf("the log %s is changed, and its content is not available here: whether lines were only added is not known", p), ev)
		}
	case !strings.HasPrefix(after, before) && !records:
		j.add(LogTampering, High, op, fmt.Sprintf("what stands in the log %s is changed, not only added to", p), ev)
	}
}

// programs reports programs of the system that change while no package does.
func (j *judge) programs() {
	if j.packagesChange() {
		return
	}
	n := 0
	for i, op := range j.plan.Ops {
		c := op.Change
		if c == nil || !programPath(string(c.Path)) || strings.Contains(string(c.Path), "/systemd/") || isPAMModule(string(c.Path)) {
			continue
		}
		if n++; n > maxFindings {
			j.add(Programs, Medium, i+1, "more programs of the system change than are listed", Evidence{Op: i + 1, After: true})
			return
		}
		j.program(i+1, *c)
	}
}

func (j *judge) program(op int, c change.Change) {
	p := clip(string(c.Path))
	ev := Evidence{Op: op, After: !c.After.Absent()}
	local := strings.HasPrefix(string(c.Path), "/usr/local/")
	runs := c.After.Type == change.Symlink || c.After.Type == change.File && (c.After.Mode&0o111 != 0 || strings.Contains(p, ".so"))
	switch k := c.Kind(); {
	case k == change.Delete && c.Before.Type == change.File && c.Before.Mode&0o111 != 0:
		j.add(Programs, Medium, op, fmt.Sprintf("the program %s is deleted, and no package is", p), ev)
	case !runs || k == change.Metadata || k == change.Delete:
	case k == change.Create && local:
		j.add(Programs, Low, op, fmt.Sprintf("a program is added: %s", p), ev)
	case k == change.Create:
		j.add(Programs, Medium, op, fmt.Sprintf("a program is added where those of packages are: %s", p), ev)
	case local:
		j.add(Programs, Medium, op, fmt.Sprintf("the program %s is replaced", p), ev)
	default:
		j.add(Programs, High, op, fmt.Sprintf("the program or library %s is replaced, and no package is", p), ev)
	}
}

// kernelModules sums up files of modules; a kernel has thousands.
func (j *judge) kernelModules() {
	n, first := 0, 0
	for i, op := range j.plan.Ops {
		c := op.Change
		if c == nil || !strings.Contains(string(c.Path), "/modules/") || !below("/lib/modules/", "/usr/lib/modules/")(string(c.Path)) || c.Kind() == change.Metadata {
			continue
		}
		if strings.Contains(path.Base(string(c.Path)), ".ko") && c.Kind() != change.Delete {
			n++
			if first == 0 {
				first = i + 1
			}
		}
	}
	if n == 0 {
		return
	}
	sev := High
	if j.packagesChange() {
		sev = Medium
	}
	j.add(KernelModules, sev, first, fmt.Sprintf("%d kernel modules are added or replaced, the first is %s", n, clip(string(j.plan.Ops[first-1].Change.Path))), Evidence{Op: first, After: true})
}

// Applied is a session that was applied and may be rolled back.
type Applied struct {
	Session string
	Paths   []change.Path // that it changed
}

// Overlaps reports paths of the plan that other sessions changed before: once the
// plan is applied, rolling those back is a conflict. It is pure, and needs no
// contents.
func Overlaps(p plan.Plan, others []Applied) []Risk {
	if len(others) == 0 {
		return nil
	}
	ops := make(map[change.Path]int, len(p.Ops))
	for i, op := range p.Ops {
		if op.Change != nil {
			ops[op.Change.Path] = i + 1
		}
	}
	var out []Risk
	for _, o := range others {
		r := Risk{Class: Overlap, Severity: Medium}
		n := 0
		for _, path := range o.Paths {
			if op := ops[path]; op > 0 {
				n++
				if len(r.Evidence) < maxEvidence {
					r.Evidence = append(r.Evidence, Evidence{Op: op})
				}
			}
		}
		if n > 0 {
			r.Op = r.Evidence[0].Op
			r.Text = fmt.Sprintf("session %s changed %d of these paths before; then this one must be rolled back before that one can be; the first is %s", o.Session, n, clip(string(p.Ops[r.Op-1].Change.Path)))
			out = append(out, r)
		}
	}
	return out
}
