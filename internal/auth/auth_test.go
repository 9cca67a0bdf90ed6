package auth_test

import (
	"context"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/tenancy"
)

type tokens map[string]tenancy.Principal

func (t tokens) CreateToken(_ context.Context, owner tenancy.UserID, name string, hash []byte, _ *time.Time, _ tenancy.Actor) (tenancy.APIToken, error) {
	t[string(hash)] = tenancy.Principal{Actor: tenancy.Actor{UserID: owner}}
	return tenancy.APIToken{Name: name}, nil
}

func (t tokens) Authenticate(_ context.Context, hash []byte) (tenancy.Principal, error) {
	p, ok := t[string(hash)]
	if !ok {
		return p, tenancy.Errorf(tenancy.CodeUnauthenticated, "unknown")
	}
	return p, nil
}

func (t tokens) AuthenticateWatcher(ctx context.Context, hash []byte, watched tenancy.JobID) (tenancy.Principal, *tenancy.JobVersion, error) {
	p, err := t.Authenticate(ctx, hash)
	return p, &tenancy.JobVersion{Version: int64(len(watched))}, err
}

func TestTokenIsKnownByItsHashOnly(t *testing.T) {
	t.Parallel()
	store := tokens{}
	a := auth.APITokens{Store: store}
	_, token, err := a.Create(t.Context(), "u1", "ci", nil, tenancy.SystemActor)
	if err != nil {
		t.Fatal(err)
	}
	if _, kept := store[token]; kept {
		t.Error("the token itself is kept")
	}
	if p, err := a.Authenticate(t.Context(), token); err != nil || p.UserID != "u1" {
		t.Errorf("Authenticate = %+v, %v", p, err)
	}
	if p, v, err := a.AuthenticateWatcher(t.Context(), token, "job"); err != nil || p.UserID != "u1" || v.Version != 3 {
		t.Errorf("AuthenticateWatcher = %+v, %+v, %v", p, v, err)
	}
	for _, wrong := range []string{"", "x", token[:len(token)-1], token + "x", "tenantry_"} {
		if _, err := a.Authenticate(t.Context(), wrong); tenancy.CodeOf(err) != tenancy.CodeUnauthenticated {
			t.Errorf("Authenticate(%q): %v", wrong, err)
		}
		if _, _, err := a.AuthenticateWatcher(t.Context(), wrong, "job"); tenancy.CodeOf(err) != tenancy.CodeUnauthenticated {
			t.Errorf("AuthenticateWatcher(%q): %v", wrong, err)
		}
	}
}

func TestHashPassword(t *testing.T) {
	t.Parallel()
	password := auth.NewPassword()
	hash, err := auth.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := argon2id.ComparePasswordAndHash(password, hash); !ok || err != nil {
		t.Errorf("the password does not match its hash: %v", err)
	}
	if ok, _ := argon2id.ComparePasswordAndHash(password+"x", hash); ok {
		t.Error("another password matches")
	}
}
