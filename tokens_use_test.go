package bowline

import (
	"fmt"
	"testing"
	"time"
)

// TestUses: of many at once one notes a use, and one again after a minute.
func TestUses(t *testing.T) {
	var u uses
	now := time.Now()
	for i := range 3 {
		if got := u.first("a", now.Add(time.Duration(i)*time.Second)); got != (i == 0) {
			t.Errorf("request %d notes: %v", i, got)
		}
	}
	if !u.first("b", now) || !u.first("a", now.Add(time.Minute)) {
		t.Error("another token, or a later use, is not noted")
	}
	for i := range 2 * maxUses {
		u.first(fmt.Sprint(i), now)
	}
	if len(u.noted) > maxUses {
		t.Errorf("%d are kept", len(u.noted))
	}
}
