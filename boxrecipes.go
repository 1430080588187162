package bowline

import (
	"context"
	"io"

	"github.com/bowline-sh/bowline/internal/recipe"
)

// BoxRecipe is what a box is made of: an image, or how to build one, and what a
// devcontainer.json says besides.
type BoxRecipe = recipe.Recipe

// BoxRecipeRequest says where to look for a recipe.
type BoxRecipeRequest = recipe.Request

// ReadBoxRecipe reads the recipe of a worktree; without one it is the Containerfile that
// is built in.
func ReadBoxRecipe(r BoxRecipeRequest) (BoxRecipe, error) { return recipe.Find(r) }

// BoxImage is an image that was built on a target.
type BoxImage struct {
	Name  string
	ID    string
	Files int      // that were sent for it
	Bytes int64    // of their content
	Left  []string // sockets and the like that were not sent; hostile text
}

// BoxBuild is an image to be built on a target. Recipe.Build is required.
type BoxBuild struct {
	Target   string
	Name     string
	Recipe   BoxRecipe
	Progress io.Writer // hears what the build prints, hostile text; optional
}

// BuildBoxImage builds an image. With an error nothing of it is left, unless the kind is
// partial, and what had its name before has it still.
func (c *Client) BuildBoxImage(ctx context.Context, b BoxBuild) (BoxImage, error) {
	out, err := c.parts.Boxes.Build(ctx, b.Target, b.Name, *b.Recipe.Build, b.Progress)
	return BoxImage{Name: out.Name, ID: out.ID, Files: out.Sent.Files, Bytes: out.Sent.Bytes, Left: out.Sent.Left}, err
}
