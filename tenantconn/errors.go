package tenantconn

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Code is the stable name of why a tenant cannot be used.
type Code string

// The codes of an Error.
const (
	// NotFound: there is no such tenant, or not yet.
	NotFound Code = "NOT_FOUND"
	// ReadOnly: the tenant can be read alone.
	ReadOnly Code = "TENANT_READ_ONLY"
	// Suspended: an operator has shut the tenant.
	Suspended Code = "TENANT_SUSPENDED"
	// Offboarding: the tenant is leaving; it can still be read.
	Offboarding Code = "TENANT_OFFBOARDING"
	// Unavailable: registry, vault or the tenant's server do not let us in now.
	Unavailable Code = "E_DEPENDENCY_UNAVAILABLE"
	// Internal: what registry and vault say does not fit together; an operator has
	// to look.
	Internal Code = "E_INTERNAL"
)

// Error is why a tenant cannot be used.
type Error struct {
	Code Code
	Slug string
	// Message is safe to show to anyone.
	Message string
	cause   error
}

// Error shows the tenant, the code and the message, and not the cause, which may
// name addresses.
func (e *Error) Error() string {
	return fmt.Sprintf("cannot use tenant %q: %s: %s", e.Slug, e.Code, e.Message)
}

// Unwrap is the cause, for a log that only operators read.
func (e *Error) Unwrap() error { return e.cause }

// HTTPStatus is how to tell a caller: 403, 404, 500 or 503.
func (e *Error) HTTPStatus() int {
	switch e.Code {
	case NotFound:
		return http.StatusNotFound
	case ReadOnly, Offboarding:
		return http.StatusForbidden
	case Suspended, Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// ErrClosed is what every call gives after Close.
var ErrClosed = errors.New("the tenants' connections are closed")

// refusal makes err an Error. The end of the caller's context stays one.
func refusal(ctx context.Context, slug string, err error) error {
	if err == nil || errors.Is(err, ErrClosed) {
		return err
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return ctx.Err()
	}
	e := tenancy.AsError(err)
	code := Code(e.Code)
	switch e.Code {
	case tenancy.CodeInvalidSlug:
		code = NotFound
	case tenancy.CodeNotFound, tenancy.CodeTenantReadOnly, tenancy.CodeTenantSuspended, tenancy.CodeTenantOffboarding,
		tenancy.CodeDependencyUnavailable, tenancy.CodeInternal:
	case tenancy.CodeTimeout:
		code = Unavailable
	default:
		code = Internal
	}
	return &Error{Code: code, Slug: slug, Message: e.Message, cause: err}
}
