// Package api is Bowline over HTTP: JSON below /api/v1, described by an OpenAPI 3.1
// document that is made from the same table as the handlers.
//
// # Rules of its answers
//
//   - An answer is one JSON document. An error is application/problem+json (RFC 9457)
//     with the members "kind" and "hint" of package diag.
//   - Where a request accepts text/event-stream, output and progress come as events while
//     the act goes on; the last event is "result" or "problem".
//   - Unknown members of a request are errors: a misspelt limit must not be ignored.
//   - What a token may not see does not exist: 404, as for what is not there.
//   - Text from targets is data. It is never HTML, and the content type says so.
package api
