package cli

import "github.com/bowline-sh/bowline"

// over returns the options with what the table says where no flag did.
func (o serveOptions) over(t bowline.Serving) serveOptions {
	text := func(flag string, to *string, from string) {
		if !o.given(flag) && from != "" {
			*to = from
		}
	}
	yes := func(flag string, to *bool, from bool) {
		if !o.given(flag) {
			*to = *to || from
		}
	}
	text("listen", &o.listen, t.Listen)
	text("url", &o.url, t.URL)
	if !o.given("self-signed") && !o.given("tls-cert") { // these go together
		o.cert, o.key, o.selfSigned = t.TLSCert, t.TLSKey, t.SelfSigned
	}
	yes("host-mode", &o.hostMode, t.HostMode)
	yes("log-json", &o.logJSON, t.JSONLog)
	if !o.given("host-name") {
		o.hosts = t.HostNames
	}
	if !o.given("grace") && t.Grace != 0 {
		o.grace = t.Grace
	}
	return o
}
