// Package web is the review page: people read plans, decide, and watch what becomes of
// them. Pages are made on the server and work without JavaScript; a small script of ours
// adds keys and live progress.
//
// # Rules
//
//   - It calls the root package alone, as every surface does, on behalf of whoever signed
//     in: what a token may not do no form can.
//   - Text from targets is escaped by templ, and neutralised before, so that nothing of
//     it reorders or hides text of ours.
//   - Every form is a POST from our own origin; http.CrossOriginProtection refuses others.
//   - There is no inline script or style: the content security policy forbids them.
//   - Approving names the digest of the plan that the page showed.
//
// Templates are in *.templ; 'make generate' turns them into Go, which is committed.
package web
