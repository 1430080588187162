package worker

import (
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/work"
)

// TestSilence: who is dead, as one who looks sees it. Times are in seconds; a look at
// which the store did not answer is none.
func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		name  string
		looks []int   // when
		beats []int64 // of the other, as seen then
		want  bool    // dead at the last look
	}{
		{"first look", []int{0}, []int64{1}, false},
		{"beats", []int{0, 2, 4, 6, 8, 10, 12}, []int64{1, 2, 3, 4, 5, 6, 7}, false},
		{"silent for 8 s", []int{0, 2, 4, 6, 8}, []int64{1, 1, 1, 1, 1}, false},
		{"silent for 10 s", []int{0, 2, 4, 6, 8, 10}, []int64{1, 1, 1, 1, 1, 1}, true},
		{"one beat between", []int{0, 2, 4, 6, 8, 10, 12}, []int64{1, 1, 1, 2, 2, 2, 2}, false},
		{"the store was away", []int{0, 2, 30}, []int64{1, 1, 1}, false},
		{"the store was away, and then silence", []int{0, 2, 30, 32, 34, 36, 38, 40}, []int64{1, 1, 1, 1, 1, 1, 1, 1}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &life{Config: Config{Beat: work.Beat, DeadAfter: work.DeadAfter}, id: "me", seen: map[string]sighting{}}
			start := time.Now()
			var dead []work.Process
			for i, at := range tt.looks {
				dead = l.silent([]work.Process{{ID: "me"}, {ID: "other", Beat: tt.beats[i]}}, start.Add(time.Duration(at)*time.Second))
			}
			if got := len(dead) == 1 && dead[0].ID == "other"; got != tt.want || len(dead) > 1 {
				t.Errorf("dead: %+v, want %v", dead, tt.want)
			}
		})
	}
}
