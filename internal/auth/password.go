package auth

import (
	"crypto/rand"
	"fmt"

	"github.com/alexedwards/argon2id"
)

// passwordParams follow OWASP's first recommendation for argon2id: 19 MiB, two
// passes, one lane.
var passwordParams = &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// NewPassword returns a generated password of 130 bits.
func NewPassword() string { return rand.Text() }

// HashPassword returns the argon2id hash of a password in its encoded form.
func HashPassword(password string) (string, error) {
	hash, err := argon2id.CreateHash(password, passwordParams)
	if err != nil {
		return "", fmt.Errorf("cannot hash the password: %w", err)
	}
	return hash, nil
}
