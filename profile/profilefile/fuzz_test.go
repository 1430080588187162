package profilefile

import (
	"reflect"
	"testing"
)

// FuzzParse holds Parse to its promises: it never panics, and what it accepts
// is valid, stays the same when read again, and answers every question.
func FuzzParse(f *testing.F) {
	for _, name := range BuiltinNames() {
		data, err := BuiltinSource(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, false)
	}
	f.Add([]byte(everyTOML), false)
	f.Add([]byte(everyJSON), true)
	f.Add([]byte(`{"name":"x","limits":{"memory":1e400}}`), true)
	f.Add([]byte(`{"name":"x","binds":[null]}`), true)
	f.Add([]byte(`{"name":"x","environment":{"A":null}}`), true)
	f.Fuzz(func(t *testing.T, data []byte, asJSON bool) {
		src := source(TOML, string(data))
		if asJSON {
			src.Format = JSON
		}
		p, err := Parse(src)
		if err != nil {
			return
		}
		if err := p.Validate(); err != nil {
			t.Errorf("accepted, and not valid: %v", err)
		}
		again, err := Parse(src)
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Errorf("read again: %+v, %v; want %+v", again, err, p)
		}
		if !reflect.DeepEqual(p.Clone(), p) {
			t.Errorf("the copy %+v is not %+v", p.Clone(), p)
		}
		p.Warnings()
		for _, arg0 := range []string{"ls", "/usr/bin/ls", "/usr/bin/../bin/sh", "", string(data)} {
			if v := p.Allows(arg0); v.Reason == "" {
				t.Errorf("no reason for %q", arg0)
			}
		}
		if p.Allows("/usr/bin/../bin/sh").Allowed {
			t.Error("a path that is not plain is allowed")
		}
	})
}
