//go:build linux

package circle

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// nodes are what a world has where it differs from the machine, but what Bowline
// keeps there.
func (w *world) nodes(t testing.TB) map[string]node {
	t.Helper()
	out := map[string]node{}
	for p := range w.paths(t) {
		if n, there := w.at(t)(p); there && !isOurs(p) {
			out[p] = n
		}
	}
	return out
}

// picture is nodes in words.
func picture(t testing.TB, w *world) map[string]string {
	t.Helper()
	nodes := w.nodes(t)
	out, first := map[string]string{}, map[[2]uint64]string{}
	for _, p := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[p]
		out[p] = fmt.Sprintf("%s at %d", n.what, n.mtime)
		if !n.dir {
			if _, ok := first[n.inode]; !ok {
				first[n.inode] = p
			}
			out[p] += fmt.Sprintf(" %d links, first %q", n.links, first[n.inode])
		}
	}
	return out
}

// unchanged fails the test unless the world is as in the picture.
func unchanged(t testing.TB, w *world, want map[string]string) {
	t.Helper()
	if d := cmp.Diff(want, picture(t, w)); d != "" {
		t.Errorf("the tree was touched (-before +after):\n%s", d)
	}
}

// touching is a script with all kinds of changes, in two stretches.
const touching = `cd ` + play + `
echo more >> a; chmod 600 b; echo n > new; rm conf; rm -rf full; ln -sfn full cur
echo s > d/e/mid; mkdir d/made; echo l >> h1; python3 -c 'import os; os.setxattr("x","user.color",b"red")'
systemctl restart x
echo later > late; echo again >> a; rm pipe; echo z > d/made/z`

// changed are the ways in which what a plan touches can change before it is applied.
var changed = map[string]string{
	"content":                            `echo theirs >> a`,
	"content of the same size":           `echo ONE > a; touch -d 2001-02-03 a`,
	"content of what is deleted":         `echo theirs >> conf`,
	"content below what is deleted":      `echo theirs >> full/3`,
	"content by another hard link":       `echo theirs >> links/h3`,
	"mode":                               `chmod 4644 a`,
	"mode of what gets another":          `chmod 400 b`,
	"owner":                              `chown 5 a`,
	"group":                              `chgrp 5 b`,
	"type, a directory":                  `rm a; mkdir a`,
	"type, a link to the same":           `cp a same; ln -sf same a`,
	"type, a device":                     `rm pipe; mknod pipe c 1 3`,
	"appeared":                           `echo theirs > new`,
	"appeared, for a later stretch":      `echo theirs > late`,
	"appeared, a dangling link":          `ln -s nowhere new`,
	"appeared in a directory to go":      `echo theirs > full/theirs`,
	"appeared where a directory is made": `mkdir d/made; echo theirs > d/made/z`,
	"vanished":                           `rm a`,
	"vanished, deeper":                   `rm d/e/mid`,
	"link target":                        `ln -sfn d/e cur`,
	"attribute":                          `python3 /run/set user.theirs 1 a`,
	"attribute that is changed":          `python3 /run/set user.color green x`,
	"ACL":                                `python3 /run/set system.posix_acl_access ACL a`,
	"capability":                         `setcap cap_net_raw+ep a`,
	"parent, a link":                     `mv d real; ln -s real d`,
	"parent, a link out":                 `mkdir /opt/out; cp -a d/. /opt/out; rm -r d; ln -s /opt/out d`,
	"parent, a file":                     `rm -r d; echo f > d`,
	"parent, gone":                       `rm -r d`,
	"top, a link":                        `cp -a . /opt/copy; cd /; umount ` + play + `; rmdir ` + play + `; ln -s /opt/copy ` + play,
}

func TestConflictBeforeApply(t *testing.T) {
	many(t, changed, func(t *testing.T, h *host, change string) {
		w := newWorld(t, seed)
		h.in(t, w)
		s := h.plan(t, touching)
		h.approve(t, s)
		w.must(t, "cd "+play+"\n"+change)
		before := picture(t, w)
		_, err := h.client.Apply(t.Context(), s.ID, bowline.ApplyOptions{})
		if diag.KindOf(err) != diag.Conflict || diag.HintOf(err) == "" {
			t.Errorf("apply: %v (%s, hint %q), want a conflict", err, diag.KindOf(err), diag.HintOf(err))
		}
		unchanged(t, w, before)
		if c := w.calls(t); len(c) > 0 {
			t.Errorf("it ran %q", c)
		}
		h.is(t, s.ID, plan.Approved)
	})
}

// harmless are changes beside what a plan touches, and of what it does not mean.
var harmless = map[string]string{
	"time":          `touch a b d full`,
	"beside":        `echo theirs > theirs; echo theirs >> d/e/f/deep; chmod 700 d`,
	"same already":  `rm conf`,
	"later already": `rm pipe`,
	"replaced same": `cp -p a t; mv t a`,
}

func TestNoConflict(t *testing.T) {
	many(t, harmless, func(t *testing.T, h *host, change string) {
		w := newWorld(t, seed)
		h.in(t, w)
		s := h.plan(t, touching)
		h.approve(t, s)
		w.must(t, "cd "+play+"\n"+change)
		before := picture(t, w)
		h.apply(t, s)
		w.must(t, "rm -r /run/calls; mkdir /run/calls")
		h.rollback(t, s)
		unchanged(t, w, before)
	})
}

// since are changes between apply and rollback.
var since = map[string]string{
	"content":                  `echo theirs >> a`,
	"content by a hard link":   `echo theirs >> links/h3`,
	"content of what was made": `echo theirs > new`,
	"mode":                     `chmod 640 a`,
	"owner":                    `chown 5 b`,
	"attribute":                `python3 /run/set user.color green x`,
	"vanished":                 `rm new`,
	"appeared again":           `echo theirs > conf`,
	"directory again":          `mkdir full`,
	"in what was made":         `echo theirs > d/made/theirs`,
	"type":                     `rm a; ln -s b a`,
	"parent, a link":           `mv d real; ln -s real d`,
	"link target":              `ln -sfn nowhere cur`,
}

func TestConflictBeforeRollback(t *testing.T) {
	many(t, since, func(t *testing.T, h *host, change string) {
		w := newWorld(t, seed)
		h.in(t, w)
		s := h.plan(t, touching)
		h.approve(t, s)
		h.apply(t, s)
		w.must(t, "cd "+play+"\n"+change)
		before := picture(t, w)
		_, err := h.client.Rollback(t.Context(), s.ID, bowline.ApplyOptions{})
		if diag.KindOf(err) != diag.Conflict || diag.HintOf(err) == "" {
			t.Errorf("rollback: %v (%s, hint %q), want a conflict", err, diag.KindOf(err), diag.HintOf(err))
		}
		unchanged(t, w, before)
		if c := w.calls(t); len(c) != 1 {
			t.Errorf("it ran %q", c)
		}
		h.is(t, s.ID, plan.Executed)
	})
}
