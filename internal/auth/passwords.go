package auth

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// passwordParams follow OWASP's first recommendation for argon2id: 19 MiB, two
// passes, one lane.
var passwordParams = &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// nobodysHash is what the password of an account that does not exist is compared
// with, so that the answer takes as long as any.
const nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// The length of a password, in characters and in bytes.
const (
	minPassword = 12
	maxPassword = 256
)

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

// CheckNewPassword says what is wrong with a password somebody chose, "" if
// nothing is. about is what the password must not be made of: the person's
// address, the tenant's name. NIST SP 800-63B is the source: length counts, and
// rules of composition do not help.
func CheckNewPassword(password string, about ...string) string {
	switch {
	case utf8.RuneCountInString(password) < minPassword:
		return fmt.Sprintf("The password must have at least %d characters.", minPassword)
	case len(password) > maxPassword:
		return fmt.Sprintf("The password must have at most %d bytes.", maxPassword)
	case !utf8.ValidString(password):
		return "The password must be text."
	}
	lower := strings.ToLower(password)
	if distinct(lower) < 5 {
		return "The password repeats too few characters."
	}
	for _, known := range append([]string{"password", "123456789", "qwertyuiop"}, about...) {
		known, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(known)), "@")
		if len(known) > 3 && len(strings.ReplaceAll(lower, known, "")) < minPassword-4 {
			return "The password is too easy to guess: it is made of a name, an address or a common word."
		}
	}
	return ""
}

func distinct(s string) int {
	seen := make(map[rune]bool)
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// Passwords hashes and compares passwords, a bounded number at the same time:
// each takes 19 MiB and tens of milliseconds of a core, which must not be a
// stranger's to multiply.
type Passwords struct{ slots chan struct{} }

// NewPasswords lets limit hashes run at the same time.
func NewPasswords(limit int) *Passwords { return &Passwords{make(chan struct{}, limit)} }

// Hash is HashPassword. It fails with CodeTimeout if ctx ends while it waits.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer p.leave()
	return HashPassword(password)
}

// Check reports whether a password is the one of hash. An empty hash is
// nobody's: the answer is no and takes as long. It fails with CodeTimeout if ctx
// ends while it waits.
func (p *Passwords) Check(ctx context.Context, password, hash string) (bool, error) {
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer p.leave()
	if len(password) > maxPassword {
		password, hash = "", ""
	}
	nobody := hash == ""
	if nobody {
		hash = nobodysHash
	}
	ok, err := argon2id.ComparePasswordAndHash(password, hash)
	if err != nil {
		return false, fmt.Errorf("cannot compare the password: %w", err)
	}
	return ok && !nobody, nil
}

func (p *Passwords) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return tenancy.Wrap(tenancy.CodeTimeout, ctx.Err(), "Too many people sign in at this moment.")
	}
}

func (p *Passwords) leave() { <-p.slots }
