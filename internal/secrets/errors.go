package secrets

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// status is the HTTP status Key Vault answered with, 0 if it did not answer.
func status(err error) int {
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return answer.StatusCode
	}
	return 0
}

// failure gives an error of the SDK its Code. action is a verb; the message
// names it and the secret, never a value. The cause is what the log may have.
func failure(err error, action, name string) error {
	kept := cause(err)
	if code := status(err); code != 0 {
		return refusal(kept, code, action, name)
	}
	if errors.Is(err, errPanic) {
		return tenancy.Wrap(tenancy.CodeDependencyUnavailable, err,
			"What answers at KEY_VAULT_URL does not answer as Key Vault does.")
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return tenancy.Wrap(tenancy.CodeDependencyUnavailable, kept,
			"Key Vault's certificate is not trusted; KEY_VAULT_CA_FILE names extra authorities.")
	}
	if denied, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok && denied.RawResponse != nil &&
		!passing(denied.RawResponse.StatusCode) {
		return tenancy.Wrap(tenancy.CodeDependencyUnavailable, kept,
			"Azure refused to sign us in to Key Vault.")
	}
	return tenancy.Unavailable(kept, fmt.Sprintf("Key Vault did not answer a request to %s secret %s.", action, name))
}

var address = regexp.MustCompile(`[a-z]+://\S*`)

// cause is what is kept of an error of the SDK, whose own text has the request's
// address and the answer's body: of an answer the status and Key Vault's code, of
// anything else the innermost error, so that errors.Is finds a context's.
func cause(err error) error {
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return fmt.Errorf("status %d, error code %s", answer.StatusCode, orDefault(answer.ErrorCode, "unknown"))
	}
	if denied, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok && denied.RawResponse != nil {
		return fmt.Errorf("status %d of the sign-in", denied.RawResponse.StatusCode)
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New(lookup.Err) // without the vault's name
	}
	// Such as that no identity is set up, which is told at length.
	if text := err.Error(); address.MatchString(text) {
		return errors.New(address.ReplaceAllString(text, "(an address)"))
	}
	return err
}

func refusal(err error, code int, action, name string) error {
	switch {
	case code == http.StatusNotFound:
		return tenancy.Wrap(tenancy.CodeNotFound, err, fmt.Sprintf("Key Vault has no secret %s.", name))
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return tenancy.Wrap(tenancy.CodeDependencyUnavailable, err,
			fmt.Sprintf("Key Vault refused access to secret %s (%s, status %d).", name, action, code))
	case passing(code):
		return tenancy.Unavailable(err,
			fmt.Sprintf("Key Vault could not %s secret %s at the moment (status %d).", action, name, code))
	}
	return tenancy.Wrap(tenancy.CodeDependencyUnavailable, err,
		fmt.Sprintf("Key Vault rejected a request to %s secret %s (status %d).", action, name, code))
}

// passing reports whether a status goes away by itself.
func passing(code int) bool {
	return code == http.StatusTooManyRequests || code == http.StatusRequestTimeout ||
		code == http.StatusConflict || code >= 500
}
