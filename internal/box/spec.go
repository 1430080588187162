package box

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/recipe"
)

// Labels of containers and volumes.
const (
	labelName     = "sh.bowline.box"
	labelOwner    = "sh.bowline.owner"    // "user@machine" that made it
	labelWorktree = "sh.bowline.worktree" // path there
	labelRepo     = "sh.bowline.repository"
	labelImage    = "sh.bowline.image" // as it was asked for
	labelUser     = "sh.bowline.user"  // account inside
	labelMade     = "sh.bowline.made"  // random, tells one making from others
	labelSpec     = "sh.bowline.spec"  // the rest of the Spec as JSON, for rebuild
)

// Spec is a box to be made. Name, Image and Owner are required.
type Spec struct {
	Name     string
	Image    string
	Owner    string // "user@machine"
	Worktree string // absolute path on the owner's machine; "" if none
	Repo     string // URL or path of the repository; "" if none
	User     string // account inside; default "dev"
	Keys     []byte // authorized_keys of the account
	Env      map[string]string
	Memory   int64   // bytes; default 4 GiB
	CPUs     float64 // default none
	Pids     int64   // default 4096
	Publish  bool    // sshd listens on a port of the server
	Volumes  []recipe.Volume
	Post     []recipe.Command // run in a new container when all else is done

	Build *recipe.Build // of an image of the box's own, in the place of Image; optional
	Said  io.Writer     // hears what a build and Post print, hostile text; optional

	made    string // random
	network string // mode of Podman
	port    int    // of the server, with Publish; 0 until it is chosen
}

// rest is what a rebuild needs of a Spec and has no label of its own.
type rest struct {
	Env    map[string]string `json:"env,omitempty"`
	Memory int64             `json:"memory"`
	CPUs   float64           `json:"cpus,omitempty"`
	Pids   int64             `json:"pids"`

	Publish bool             `json:"publish,omitempty"`
	Volumes []recipe.Volume  `json:"volumes,omitempty"`
	Post    []recipe.Command `json:"post,omitempty"`
}

// Box is one that there is.
type Box struct {
	Name     string
	ID       string // of the container
	Image    string
	Owner    string
	Worktree string
	Repo     string
	User     string
	HostKey  string // of its sshd, as in known_hosts; only from Create
	Status   string // "running", "exited", "created", "paused"...
	Created  time.Time
	Port     int // of the server, where sshd listens; 0 for none
}

// Defaults of a Spec.
const (
	defaultUser   = "dev"
	defaultMemory = 4 << 30
	defaultPids   = 4096
)

// validName is what a name may be: it becomes part of host names, volumes and git
// remotes.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// validUser is what useradd takes for a name (shadow's is_valid_name).
var validUser = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// check fills in defaults and refuses what cannot be made.
func (s *Spec) check() error {
	if s.User == "" {
		s.User = defaultUser
	}
	if s.Memory == 0 {
		s.Memory = defaultMemory
	}
	if s.Pids == 0 {
		s.Pids = defaultPids
	}
	switch {
	case !validName.MatchString(s.Name) || strings.Contains(s.Name, "--"):
		return diag.New(diag.Usage, "make box", "choose a name such as "+Normalize(s.Name), "%q is no name for a box: lower-case letters, digits and single hyphens, up to 40", s.Name)
	case !validUser.MatchString(s.User) || s.User == "root":
		return diag.New(diag.Usage, "make box", "choose another with --user", "%q is no name for the account inside", s.User)
	case s.Image == "" && s.Build == nil:
		return diag.New(diag.Usage, "make box", "name one with --image, or build one with --build", "there is no image")
	case s.Memory < 16<<20 || s.Pids < 16 || !(s.CPUs >= 0 && s.CPUs < 1e6):
		return diag.New(diag.Usage, "make box", "give more", "limits of %d bytes, %d processes and %g processors are too small", s.Memory, s.Pids, s.CPUs)
	}
	return checkKeys(s.Keys)
}

// Normalize makes a name of any text.
func Normalize(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if name == "" {
		return "box"
	}
	return strings.TrimRight(name[:min(len(name), 40)], "-")
}

// NameFor is the name of the box of a worktree: its directory's, and what tells it from
// others of that name, on this machine and others.
func NameFor(owner, worktree string) string {
	sum := sha256.Sum256([]byte(owner + "\x00" + worktree))
	base := worktree[strings.LastIndexByte(worktree, '/')+1:]
	base = Normalize(base)
	return fmt.Sprintf("%s-%s", strings.TrimRight(base[:min(len(base), 33)], "-"), hex.EncodeToString(sum[:3]))
}

func (s Spec) labels() map[string]string {
	r, err := json.Marshal(rest{Env: s.Env, Memory: s.Memory, CPUs: s.CPUs, Pids: s.Pids, Publish: s.Publish, Volumes: s.Volumes, Post: s.Post})
	if err != nil {
		panic(err) // numbers and strings: CPUs is finite, see check
	}
	return map[string]string{
		labelName: s.Name, labelOwner: s.Owner, labelWorktree: s.Worktree, labelRepo: s.Repo, labelImage: s.Image, labelUser: s.User, labelMade: s.made, labelSpec: string(r),
	}
}

// specOf reads the labels of a container.
func specOf(labels map[string]string) (Spec, error) {
	var r rest
	if err := json.Unmarshal([]byte(labels[labelSpec]), &r); err != nil {
		return Spec{}, diag.New(diag.Failure, "read what the box was made of", "remove it and keep its volumes, then make it again: 'bowline box rm --keep-volumes'", "its labels are damaged: %w", err)
	}
	s := Spec{
		Name: labels[labelName], Image: labels[labelImage], Owner: labels[labelOwner], Worktree: labels[labelWorktree], Repo: labels[labelRepo], User: labels[labelUser],
		Env: r.Env, Memory: r.Memory, CPUs: r.CPUs, Pids: r.Pids, Publish: r.Publish, Volumes: r.Volumes, Post: r.Post,
	}
	return s, s.check()
}

// Names of what a box is made of.
func containerName(name string) string { return "bowline-" + name }
func homeVolume(name string) string    { return "bowline-" + name + "-home" }
func workVolume(name string) string    { return "bowline-" + name + "-work" }
func ownVolume(name string, v recipe.Volume) string {
	return "bowline-" + name + "-volume-" + v.Name
}

// volumes are all that a box has.
func (s Spec) volumes() []string {
	out := []string{homeVolume(s.Name), workVolume(s.Name)}
	for _, v := range s.Volumes {
		out = append(out, ownVolume(s.Name, v))
	}
	return out
}

// With returns s made of a recipe, where s itself says nothing.
func (s Spec) With(r recipe.Recipe) Spec {
	if s.Image == "" {
		s.Image, s.Build = r.Image, r.Build
	}
	s.User = cmp.Or(s.User, r.User)
	env := maps.Clone(r.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, s.Env)
	s.Env, s.Volumes, s.Post = env, r.Volumes, r.Post
	return s
}
