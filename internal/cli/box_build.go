package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/neutral"
)

// recipeFlags say what a box is made of.
type recipeFlags struct {
	build        bool
	devcontainer bool
	file         string
	context      string
}

func (r *recipeFlags) add(f *pflag.FlagSet) {
	f.BoolVar(&r.devcontainer, "devcontainer", false, "take nothing but a devcontainer.json")
	f.StringVarP(&r.file, "file", "f", "", "Containerfile, or devcontainer.json (default: look in the worktree)")
	f.StringVar(&r.context, "context", "", "directory that the build may copy from (default the worktree)")
}

// wanted reports whether a box is to be made of a recipe.
func (r recipeFlags) wanted() bool { return r.build || r.devcontainer || r.file != "" }

// read finds the recipe and says what it is.
func (r recipeFlags) read(env *Env, worktree string) (bowline.BoxRecipe, error) {
	out, err := bowline.ReadBoxRecipe(bowline.BoxRecipeRequest{Worktree: worktree, File: r.file, Context: r.context, Devcontainer: r.devcontainer})
	if err != nil {
		return out, err
	}
	if out.File == "" {
		env.say("there is no Containerfile and no devcontainer.json: taking the one that is built in ('bowline box build --print' shows it)")
	} else {
		env.say("taking %s", safe(out.File))
	}
	for _, n := range out.Notes {
		env.say("%s", safe(n))
	}
	return out, nil
}

// sayPorts says what to type for the ports that a recipe names.
func (env *Env) sayPorts(r *bowline.BoxRecipe, on, name string) {
	if r == nil {
		return
	}
	for _, p := range r.Ports {
		env.say("to reach port %s of the box: 'bowline box port -t %s %s %s'", p, on, name, p)
	}
}

const buildHelp = `Build an image on the target, through Podman's API over the link. It is built of, the first
that is there:

  --file FILE
  .bowline/Containerfile, Containerfile
  .devcontainer/devcontainer.json, .devcontainer.json, devcontainer.json
  .devcontainer/Containerfile, .devcontainer/Dockerfile
  a Containerfile that is built in: Debian with openssh-server, git, sudo, curl

The context, the worktree or what --context says, is sent as it is, without what
.containerignore or else .dockerignore name. Symbolic links are sent as links, but
for those that lead out of it; nothing outside of the directory is read. Steps of the build run on the server as its Podman runs
them: build what you would run there.

Of a devcontainer.json a box takes image, build, remoteUser, containerEnv, remoteEnv, mounts
of volumes, postCreateCommand and forwardPorts; what is left out is said.

A build that fails leaves no image, no layer and no container.`

func newBoxBuild(env *Env) *cobra.Command {
	var target string
	var r recipeFlags
	var show bool
	cmd := &cobra.Command{
		Use: "build [IMAGE]", Short: "Build an image for boxes on the target", Long: buildHelp, Args: args(cobra.MaximumNArgs(1)),
		Example: "  bowline box build -t dev1\n  bowline box build localhost/shop:dev -t dev1 --file Containerfile.dev\n  bowline box build --print",
	}
	addTargetFlag(cmd, env, &target)
	r.add(cmd.Flags())
	cmd.Flags().BoolVar(&show, "print", false, "print the Containerfile, and build nothing")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		at := worktree(cmd.Context())
		rec, err := r.read(env, at)
		if err != nil {
			return err
		}
		if rec.Build == nil {
			return diag.New(diag.Usage, "build an image", "use it: 'bowline box create --devcontainer'", "%s names the image %s, and there is nothing to build", rec.File, rec.Image)
		}
		if show {
			_, err := env.Stdout.Write(rec.Build.Containerfile)
			return err
		}
		name := "localhost/bowline/" + imageName(at)
		if len(a) > 0 {
			name = a[0]
		}
		return env.withClient(cmd.Context(), func(c *bowline.Client) error { return env.buildImage(cmd.Context(), c, target, name, rec) })
	}
	return cmd
}

// imageName makes the last part of an image's name of a worktree.
func imageName(worktree string) string {
	return bowline.NormalizeBoxName(filepath.Base(cmp.Or(worktree, "box")))
}

func (env *Env) buildImage(ctx context.Context, c *bowline.Client, target, name string, rec bowline.BoxRecipe) error {
	on, err := env.boxTarget(ctx, c, target)
	if err != nil {
		return err
	}
	out, err := c.BuildBoxImage(ctx, bowline.BoxBuild{Target: on, Name: name, Recipe: rec, Progress: env.boxOutput()})
	if err != nil {
		return err
	}
	if len(out.Left) > 0 {
		env.say("not sent, as they are no files, or links out of the context: %s", safe(strings.Join(out.Left, ", ")))
	}
	env.say("built of %d files with %s, as %s", out.Files, sizeText(out.Bytes), safe(out.ID))
	fmt.Fprintln(env.Stdout, safe(out.Name))
	return nil
}

// boxOutput is where output of builds and commands goes, neutralised; nil with --quiet. Half
// a character at its very end is not shown.
func (env *Env) boxOutput() io.Writer {
	if env.quiet {
		return nil
	}
	return neutral.NewWriter(env.Stderr)
}

// recipeOf reads the recipe of a box: that of the worktree it was made for, which need not
// be the one that we stand in.
func (env *Env) recipeOf(ctx context.Context, c *bowline.Client, r recipeFlags, re bowline.BoxRebuild) (bowline.BoxRecipe, error) {
	b, err := c.Box(ctx, re.Target, re.Name)
	if err != nil {
		return bowline.BoxRecipe{}, err
	}
	at := worktree(ctx)
	if b.Owner == owner() {
		at = b.Worktree
	}
	if at == "" && r.file == "" {
		return bowline.BoxRecipe{}, diag.New(diag.Usage, "find the recipe of "+re.Name, "go to its worktree, or name it: '--file FILE'", "the box was made for no worktree of this machine")
	}
	return r.read(env, at)
}
