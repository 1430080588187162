package cli

import (
	"slices"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
)

// TestFlagsComeFirst: the table says what no flag said.
func TestFlagsComeFirst(t *testing.T) {
	table := bowline.Serving{Listen: "10.0.0.5:1", URL: "https://b.example", TLSCert: "/c", TLSKey: "/k", HostNames: []string{"b"}, HostMode: true, JSONLog: true, Grace: time.Minute}
	flags := serveOptions{listen: "127.0.0.1:2", selfSigned: true, hosts: []string{"a"}, grace: time.Second, given: func(string) bool { return true }}
	if o := flags.over(table); o.listen != flags.listen || o.url != "" || o.cert != "" || !o.selfSigned || !slices.Equal(o.hosts, flags.hosts) || o.hostMode || o.logJSON || o.grace != time.Second {
		t.Errorf("the table came first: %+v", o)
	}
	flags = serveOptions{listen: "127.0.0.1:2", grace: time.Second, given: func(string) bool { return false }}
	if o := flags.over(table); o.listen != table.Listen || o.url != table.URL || o.cert != "/c" || o.key != "/k" || o.selfSigned || !slices.Equal(o.hosts, table.HostNames) || !o.hostMode || !o.logJSON || o.grace != time.Minute {
		t.Errorf("the table was not read: %+v", o)
	}
	if o := flags.over(bowline.Serving{}); o.listen != flags.listen || o.grace != time.Second {
		t.Errorf("an empty table says something: %+v", o)
	}
}
