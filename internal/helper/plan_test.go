//go:build linux

package helper

import (
	"slices"
	"testing"

	"github.com/bowline-sh/bowline/internal/overlay"
	"github.com/bowline-sh/bowline/internal/overlay/deferral"
	"github.com/bowline-sh/bowline/profile"
)

// TestRules: a profile adds to the built-in table, replaces an entry of it, or all.
func TestRules(t *testing.T) {
	table, volatile := rulesOf(profile.DryRun{})
	if digestOf(table, volatile) != digestOf(deferral.Default(), overlay.DefaultVolatile()) {
		t.Error("an empty profile changes the rules")
	}
	own := profile.DryRun{
		Defer: []profile.Deferral{
			{Programs: []string{"appctl", "appd"}, Reads: []string{"status ...", ""}, Undo: map[string]string{"up": "down"}, UndoWord: 1, Answer: 3},
			{Programs: []string{"systemctl"}},
		},
		Volatile: []string{"/var/lib/app"},
	}
	more, volatile2 := rulesOf(own)
	if len(more) != len(table)+2 || len(volatile2) != len(volatile)+1 || digestOf(more, volatile2) == digestOf(table, volatile) {
		t.Errorf("%d rules, %d paths", len(more), len(volatile2))
	}
	for _, tt := range []struct {
		argv  []string
		class deferral.Class
		undo  []string
	}{
		{[]string{"systemctl", "status", "x"}, deferral.Defer, nil},
		{[]string{"appctl"}, deferral.Read, nil},
		{[]string{"appd", "status", "x"}, deferral.Read, nil},
		{[]string{"appd", "x", "up"}, deferral.Defer, []string{"appd", "x", "down"}},
		{[]string{"service", "x", "status"}, deferral.Read, nil},
	} {
		r, _ := deferral.Find(more, tt.argv[0])
		if class, undo := deferral.Classify(r, tt.argv); class != tt.class || !slices.Equal(undo, tt.undo) {
			t.Errorf("%q: %s, %q", tt.argv, class, undo)
		}
	}
	own.NoDefaults = true
	if table, volatile := rulesOf(own); len(table) != 3 || len(volatile) != 1 {
		t.Errorf("%d rules, %d paths", len(table), len(volatile))
	}
	if table, volatile := rulesOf(profile.DryRun{NoDefaults: true}); table == nil || volatile == nil {
		t.Error("no rules would mean the built-in ones")
	}
}
