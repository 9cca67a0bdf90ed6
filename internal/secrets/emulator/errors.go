package emulator

import (
	"fmt"
	"net/http"
)

// vaultError is an error in Key Vault's form. inner is the innererror's code,
// which tells apart what shares a code.
type vaultError struct {
	status  int
	code    string
	inner   string
	message string
}

func (e *vaultError) Error() string { return e.code + ": " + e.message }

func badParameter(format string, args ...any) error {
	return &vaultError{status: http.StatusBadRequest, code: "BadParameter", message: fmt.Sprintf(format, args...)}
}

func secretNotFound(name string) error {
	return &vaultError{
		status: http.StatusNotFound, code: "SecretNotFound",
		message: "A secret with (name/id) " + name + " was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command.",
	}
}

func deletedSecretNotFound(name string) error {
	return &vaultError{
		status: http.StatusNotFound, code: "SecretNotFound",
		message: "Deleted Secret not found: " + name,
	}
}

func secretDisabled() error {
	return &vaultError{
		status: http.StatusForbidden, code: "Forbidden", inner: "SecretDisabled",
		message: "Operation get is not allowed on a disabled secret.",
	}
}

func purgeProtected() error {
	return &vaultError{
		status: http.StatusForbidden, code: "Forbidden", inner: "ForbiddenByPolicy",
		message: "Operation purge is not allowed because purge protection is enabled for this vault.",
	}
}

// conflict says which state is in the way of an operation on name.
func conflict(name string, s state) error {
	e := &vaultError{status: http.StatusConflict, code: "Conflict"}
	switch s {
	case stateDeleted:
		e.inner = "ObjectIsDeletedButRecoverable"
		e.message = "Secret " + name + " is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged."
	case stateRecovering:
		e.inner = "ObjectIsBeingRecovered"
		e.message = "Secret " + name + " is currently being recovered and cannot be used; retry later."
	default:
		e.inner = "ObjectIsBeingDeleted"
		e.message = "Secret " + name + " is currently being deleted and cannot be re-created; retry later."
	}
	return e
}

// injected is the body of a Fault.
func injected(status int) error {
	code := http.StatusText(status)
	switch status {
	case http.StatusTooManyRequests:
		code = "Throttled"
	case http.StatusForbidden:
		code = "Forbidden"
	case http.StatusServiceUnavailable:
		code = "ServiceUnavailable"
	}
	return &vaultError{status: status, code: code, message: "The emulator was told to answer so."}
}
