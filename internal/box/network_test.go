package box

import "testing"

// TestNetworkMode: whatever there is, boxes are apart or are not made.
func TestNetworkMode(t *testing.T) {
	for _, tt := range []struct {
		version  string
		rootless bool
		want     string // "" for an error
	}{
		{"4.3.1", false, "slirp4netns"}, {"4.9.0", true, "slirp4netns"}, {"5.0.0", true, "pasta"}, {"5.4.2", false, "slirp4netns"},
		{"6.0.0", true, "pasta"}, {"6.0.0", false, ""}, {"", false, ""}, {"new", true, ""},
	} {
		if got, err := modeFor(tt.version, tt.rootless); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
}
