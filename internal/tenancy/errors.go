package tenancy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Code is the stable name of a kind of failure, as it stands on the wire, in
// the job row and in the audit trail. docs/errors has a page for each.
type Code string

// Codes a job can end with. The runbook's troubleshooting table is the source
// of the first seven.
const (
	CodeInvalidSlug           Code = "E_INVALID_SLUG"
	CodeAlreadyProvisioned    Code = "E_ALREADY_PROVISIONED"
	CodePartialState          Code = "E_PARTIAL_STATE"
	CodeNoCapacity            Code = "E_NO_CAPACITY"
	CodeDBServerNotFound      Code = "E_DB_SERVER_NOT_FOUND"
	CodeAdminConnUnresolved   Code = "E_ADMIN_CONN_UNRESOLVED"
	CodeMigrationsFailed      Code = "E_MIGRATIONS_FAILED"
	CodeDependencyUnavailable Code = "E_DEPENDENCY_UNAVAILABLE"
	CodeTimeout               Code = "E_TIMEOUT"
	CodeInternal              Code = "E_INTERNAL"
)

// Codes of a request that made no job.
const (
	CodeInvalidRequest          Code = "E_INVALID_REQUEST"
	CodeJobInProgress           Code = "E_JOB_IN_PROGRESS"
	CodeConflict                Code = "E_CONFLICT"
	CodeUnauthenticated         Code = "UNAUTHENTICATED"
	CodeForbidden               Code = "FORBIDDEN"
	CodeNotFound                Code = "NOT_FOUND"
	CodeRateLimited             Code = "RATE_LIMITED"
	CodeProvisioningUnavailable Code = "PROVISIONING_UNAVAILABLE"
)

// Codes of what a tenant's status does not allow its people.
const (
	CodeTenantReadOnly    Code = "TENANT_READ_ONLY"
	CodeTenantSuspended   Code = "TENANT_SUSPENDED"
	CodeTenantOffboarding Code = "TENANT_OFFBOARDING"
)

// Codes that stay inside: they tell a worker that there is nothing for it to do.
const (
	// CodeJobBusy: another worker holds the job's lease.
	CodeJobBusy Code = "JOB_BUSY"
	// CodeJobSettled: the job is complete, failed or cancelled.
	CodeJobSettled Code = "JOB_SETTLED"
	// CodeLeaseLost: a later worker took the job; nothing was written.
	CodeLeaseLost Code = "LEASE_LOST"
)

// Codes lists every code that can reach a user, in the order of the docs.
func Codes() []Code {
	return []Code{
		CodeInvalidSlug, CodeAlreadyProvisioned, CodePartialState, CodeNoCapacity,
		CodeDBServerNotFound, CodeAdminConnUnresolved, CodeMigrationsFailed,
		CodeDependencyUnavailable, CodeTimeout, CodeInternal,
		CodeInvalidRequest, CodeJobInProgress, CodeConflict, CodeUnauthenticated,
		CodeForbidden, CodeNotFound, CodeRateLimited, CodeProvisioningUnavailable,
		CodeTenantReadOnly, CodeTenantSuspended, CodeTenantOffboarding,
	}
}

// Error is a failure with a Code. Message is safe to show to anyone who may see
// the job; Err, the cause, is for the log and never leaves the process.
type Error struct {
	Code    Code
	Message string
	Err     error
	// Transient says that the same call may succeed later without anyone
	// mending anything: network trouble, throttling, a deadlock.
	Transient bool
	// Fields names what is wrong with each field of a request, if known.
	Fields []FieldError
	// JobID is the running job behind CodeJobInProgress.
	JobID JobID
	// RetryAfter is how long to wait behind CodeRateLimited, if known.
	RetryAfter time.Duration
}

// FieldError is one fault of one field of a request.
type FieldError struct {
	// Pointer is the field's JSON pointer, such as "/slug".
	Pointer string
	Code    Code
	Detail  string
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error with a formatted, safe message and no cause.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns a permanent Error with a safe message and its cause.
func Wrap(code Code, err error, message string) *Error {
	return &Error{Code: code, Message: message, Err: err}
}

// Unavailable returns the transient CodeDependencyUnavailable for a dependency
// that did not answer or could not serve; message names it.
func Unavailable(err error, message string) *Error {
	return &Error{Code: CodeDependencyUnavailable, Message: message, Err: err, Transient: true}
}

// AsError returns the Error within err. What has none becomes CodeTimeout, if a
// deadline passed, or CodeInternal, whose message gives nothing away.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{Code: CodeTimeout, Message: "The step did not finish within its time limit.", Err: err, Transient: true}
	}
	return &Error{Code: CodeInternal, Message: "An internal error happened; the log has it under the job's id.", Err: err}
}

// CodeOf returns the code of err, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsError(err).Code
}

// IsTransient reports whether the same call may succeed later by itself.
func IsTransient(err error) bool { return err != nil && AsError(err).Transient }
