// Package http is tenantry's HTTP API. It guarantees that
//
//   - every route stands in one table, with the roles it needs (routes.go), and
//     in openapi.yaml, which it serves;
//   - every failure is an RFC 9457 problem with a Code, made in one place
//     (errors.go); a cause is logged and never sent;
//   - a refused attempt is audited, and a stranger cannot fill the audit trail;
//   - a tenant's host gets that tenant's own pages and nothing of the platform,
//     and no other host gets them (tenant_site.go);
//   - no token, e-mail address, body or query string reaches the log.
//
// A handler translates: it reads a request, calls one method of an interface
// declared beside it, and shows the result. What is allowed is decided behind
// those interfaces, in the transaction that does it.
package http
