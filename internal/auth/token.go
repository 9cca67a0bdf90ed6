// Package auth makes and checks credentials of the platform's own people: API
// tokens and passwords. A credential is shown once, when it is made; what is
// kept is a hash.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// tokenPrefix lets secret scanners find a leaked token.
const tokenPrefix = "tenantry_"

// TokenStore keeps API tokens by their hash.
type TokenStore interface {
	CreateToken(ctx context.Context, owner tenancy.UserID, name string, hash []byte, expiresAt *time.Time, actor tenancy.Actor) (tenancy.APIToken, error)
	// Authenticate fails with CodeUnauthenticated if the hash is not known.
	Authenticate(ctx context.Context, hash []byte) (tenancy.Principal, error)
	// AuthenticateWatcher is Authenticate and the version of a job, nil if there is
	// none.
	AuthenticateWatcher(ctx context.Context, hash []byte, watched tenancy.JobID) (tenancy.Principal, *tenancy.JobVersion, error)
}

// APITokens makes and checks API tokens.
type APITokens struct{ Store TokenStore }

// Create makes a token for owner. The token comes back once; only its hash is
// kept. A nil expiresAt means that it does not expire.
func (a APITokens) Create(ctx context.Context, owner tenancy.UserID, name string, expiresAt *time.Time, actor tenancy.Actor) (tenancy.APIToken, string, error) {
	token := tokenPrefix + NewToken()
	described, err := a.Store.CreateToken(ctx, owner, name, HashToken(token), expiresAt, actor)
	if err != nil {
		return tenancy.APIToken{}, "", err
	}
	return described, token, nil
}

// Authenticate returns who a token stands for, or CodeUnauthenticated.
func (a APITokens) Authenticate(ctx context.Context, token string) (tenancy.Principal, error) {
	if err := checkForm(token); err != nil {
		return tenancy.Principal{}, err
	}
	return a.Store.Authenticate(ctx, HashToken(token))
}

// AuthenticateWatcher is Authenticate and, in the same question to master, the
// version of the job that the caller polls; nil if there is no such job.
func (a APITokens) AuthenticateWatcher(ctx context.Context, token string, watched tenancy.JobID) (tenancy.Principal, *tenancy.JobVersion, error) {
	if err := checkForm(token); err != nil {
		return tenancy.Principal{}, nil, err
	}
	return a.Store.AuthenticateWatcher(ctx, HashToken(token), watched)
}

func checkForm(token string) error {
	if !strings.HasPrefix(token, tokenPrefix) || len(token) > 200 {
		return tenancy.Errorf(tenancy.CodeUnauthenticated, "This is no tenantry API token.")
	}
	return nil
}

// HashToken is what is kept of a token. It needs no salt and no stretching: a token is 256 random bits.
func HashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// NewToken returns 256 random bits as base64url.
func NewToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails; see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b)
}
