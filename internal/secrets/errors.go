package secrets

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

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
// names it and the secret, never a value.
func failure(err error, action, name string) error {
	if code := status(err); code != 0 {
		return refusal(err, code, action, name)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return tenancy.Wrap(tenancy.CodeDependencyUnavailable, err,
			"Key Vault's certificate is not trusted; KEY_VAULT_CA_FILE names extra authorities.")
	}
	if denied, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok && denied.RawResponse != nil &&
		!passing(denied.RawResponse.StatusCode) {
		return tenancy.Wrap(tenancy.CodeDependencyUnavailable, err,
			"Azure refused to sign us in to Key Vault.")
	}
	return tenancy.Unavailable(err, fmt.Sprintf("Key Vault did not answer a request to %s secret %s.", action, name))
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
