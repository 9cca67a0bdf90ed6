package auth

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// TenantUsers keeps the people of tenants, each tenant's in its own database. A
// method fails too with what the tenant's status does not allow.
type TenantUsers interface {
	// Invitation and Redeem fail with CodeNotFound if the link does not work.
	Invitation(ctx context.Context, slug tenancy.Slug, tokenHash []byte) (tenancy.OpenInvitation, error)
	Redeem(ctx context.Context, slug tenancy.Slug, tokenHash []byte, passwordHash string, sessionHash []byte) (tenancy.TenantUser, error)
	// Credentials are zero if nobody who may sign in has the address.
	Credentials(ctx context.Context, slug tenancy.Slug, email string) (tenancy.Credentials, error)
	// OpenSession, Session and ChangePassword fail with CodeUnauthenticated.
	OpenSession(ctx context.Context, slug tenancy.Slug, checked tenancy.Credentials, sessionHash []byte) (tenancy.TenantUser, error)
	Session(ctx context.Context, slug tenancy.Slug, sessionHash []byte) (tenancy.TenantUser, error)
	EndSession(ctx context.Context, slug tenancy.Slug, sessionHash []byte) error
	ChangePassword(ctx context.Context, slug tenancy.Slug, checked tenancy.Credentials, passwordHash string, sessionHash []byte) error
}

// TenantRegistry is what master knows of tenants and of attempts to get in.
type TenantRegistry interface {
	// Tenant fails with CodeNotFound.
	Tenant(ctx context.Context, slug tenancy.Slug) (tenancy.Tenant, error)
	BeginSignIn(ctx context.Context, scope, account, address string) (wait time.Duration, err error)
	SignInSucceeded(ctx context.Context, scope, account, address string) error
	RequestPasswordReset(ctx context.Context, slug tenancy.Slug, email string) error
}

// TenantPeople signs tenants' people in and out, and lets them choose passwords.
// Tokens are handed in and out as they are; what is kept is their hash.
type TenantPeople struct {
	Users     TenantUsers
	Registry  TenantRegistry
	Passwords *Passwords
}

// errDeadLink is the answer to a token that cannot be one of ours.
var errDeadLink = tenancy.Errorf(tenancy.CodeNotFound, "This link does not work, or no longer. Ask for a new one.")

// Tenant returns a tenant of whatever status, or CodeNotFound.
func (p *TenantPeople) Tenant(ctx context.Context, slug tenancy.Slug) (tenancy.Tenant, error) {
	return p.Registry.Tenant(ctx, slug)
}

// Invitation returns what a link's token is for, without using it. It fails with
// CodeNotFound if the link does not work.
func (p *TenantPeople) Invitation(ctx context.Context, t tenancy.Tenant, token string) (tenancy.OpenInvitation, error) {
	if !isToken(token) {
		return tenancy.OpenInvitation{}, errDeadLink
	}
	return p.Users.Invitation(ctx, t.Slug, HashToken(token))
}

// Redeem uses a link's token up: its owner gets the password and is signed in,
// and the session the browser had before ends. It fails with CodeNotFound if the
// link does not work, and with a fault at /password.
func (p *TenantPeople) Redeem(ctx context.Context, t tenancy.Tenant, token, password, before string) (tenancy.TenantSignedIn, error) {
	inv, err := p.Invitation(ctx, t, token)
	if err != nil {
		return tenancy.TenantSignedIn{}, err
	}
	if fault := checkTenantPassword(t, inv.User, password); fault != "" {
		return tenancy.TenantSignedIn{}, faultAt("/password", fault)
	}
	hash, err := p.Passwords.Hash(ctx, password)
	if err != nil {
		return tenancy.TenantSignedIn{}, err
	}
	session := NewToken()
	who, err := p.Users.Redeem(ctx, t.Slug, HashToken(token), hash, HashToken(session))
	if err != nil {
		return tenancy.TenantSignedIn{}, err
	}
	_ = p.SignOut(ctx, t, before) // the link is used up: whatever else, the person is signed in
	return tenancy.TenantSignedIn{User: who, Token: session}, nil
}

// SignIn opens a session with a token of its own, and ends the one the browser
// had before. It fails with CodeUnauthenticated, in the same words and the same
// time whether nobody has the address, its owner may not sign in or the password
// is wrong; and with CodeRateLimited after too many attempts.
func (p *TenantPeople) SignIn(ctx context.Context, t tenancy.Tenant, in tenancy.SignIn) (tenancy.TenantSignedIn, error) {
	scope := string(t.ID)
	if err := p.begin(ctx, scope, in.Email, in.Address); err != nil {
		return tenancy.TenantSignedIn{}, err
	}
	wrong := tenancy.Errorf(tenancy.CodeUnauthenticated, "The e-mail address or the password is wrong.")
	checked, err := p.Users.Credentials(ctx, t.Slug, in.Email)
	if err != nil {
		return tenancy.TenantSignedIn{}, err
	}
	right, err := p.Passwords.Check(ctx, in.Password, checked.PasswordHash)
	if err != nil {
		return tenancy.TenantSignedIn{}, err
	}
	if !right {
		return tenancy.TenantSignedIn{}, wrong
	}
	session := NewToken()
	who, err := p.Users.OpenSession(ctx, t.Slug, checked, HashToken(session))
	switch {
	case tenancy.CodeOf(err) == tenancy.CodeUnauthenticated:
		return tenancy.TenantSignedIn{}, wrong // changed or shut out meanwhile
	case err != nil:
		return tenancy.TenantSignedIn{}, err
	}
	// Both are tidying up: without them the person is signed in all the same.
	_ = p.SignOut(ctx, t, in.Token)
	_ = p.Registry.SignInSucceeded(ctx, scope, in.Email, in.Address)
	return tenancy.TenantSignedIn{User: who, Token: session}, nil
}

// Session returns whose session it is, or CodeUnauthenticated.
func (p *TenantPeople) Session(ctx context.Context, t tenancy.Tenant, session string) (tenancy.TenantUser, error) {
	if !isToken(session) {
		return tenancy.TenantUser{}, tenancy.Errorf(tenancy.CodeUnauthenticated, "Sign in first.")
	}
	return p.Users.Session(ctx, t.Slug, HashToken(session))
}

// SignOut ends a session, if there is one.
func (p *TenantPeople) SignOut(ctx context.Context, t tenancy.Tenant, session string) error {
	if !isToken(session) {
		return nil
	}
	return p.Users.EndSession(ctx, t.Slug, HashToken(session))
}

// ChangePassword gives the owner of a session another password and ends their
// other sessions. It fails with CodeUnauthenticated, with a fault at
// /currentPassword or /newPassword, and with CodeRateLimited as signing in does.
func (p *TenantPeople) ChangePassword(ctx context.Context, t tenancy.Tenant, session, address, current, chosen string) error {
	if err := t.Status.CheckWrite(); err != nil {
		return err
	}
	who, err := p.Session(ctx, t, session)
	if err != nil {
		return err
	}
	if fault := checkTenantPassword(t, who, chosen); fault != "" {
		return faultAt("/newPassword", fault)
	}
	scope := string(t.ID)
	if err := p.begin(ctx, scope, who.Email, address); err != nil {
		return err
	}
	checked, err := p.Users.Credentials(ctx, t.Slug, who.Email)
	if err != nil {
		return err
	}
	right, err := p.Passwords.Check(ctx, current, checked.PasswordHash)
	if err != nil {
		return err
	}
	if !right || checked.UserID != who.ID {
		return faultAt("/currentPassword", "This is not your password.")
	}
	hash, err := p.Passwords.Hash(ctx, chosen)
	if err != nil {
		return err
	}
	if err := p.Users.ChangePassword(ctx, t.Slug, checked, hash, HashToken(session)); err != nil {
		return err
	}
	return p.Registry.SignInSucceeded(ctx, scope, who.Email, address)
}

// ForgotPassword has a link mailed to an address, if somebody has it; whether
// anybody does is not looked at here. It fails with CodeRateLimited after too many
// requests for the address, or from where they come, and with a fault at /email
// if no address looks like that.
func (p *TenantPeople) ForgotPassword(ctx context.Context, t tenancy.Tenant, email, address string) error {
	if err := t.Status.CheckWrite(); err != nil {
		return err
	}
	// Counted apart: whoever asks for a link is not kept from signing in.
	if err := p.begin(ctx, "reset:"+string(t.ID), email, address); err != nil {
		return err
	}
	err := p.Registry.RequestPasswordReset(ctx, t.Slug, email)
	if tenancy.CodeOf(err) == tenancy.CodeInvalidRequest {
		return faultAt("/email", "This must be an e-mail address.")
	}
	return err
}

func (p *TenantPeople) begin(ctx context.Context, scope, account, address string) error {
	wait, err := p.Registry.BeginSignIn(ctx, scope, account, address)
	if err != nil || wait <= 0 {
		return err
	}
	return &tenancy.Error{
		Code: tenancy.CodeRateLimited, RetryAfter: wait,
		Message: "There were too many attempts. Try again in " + waitWords(wait) + ".",
	}
}

// waitWords is a wait in words, never less than it is.
func waitWords(d time.Duration) string {
	if d <= time.Minute {
		return fmt.Sprintf("%d seconds", max(1, int(math.Ceil(d.Seconds()))))
	}
	return fmt.Sprintf("%d minutes", int(math.Ceil(d.Minutes())))
}

func checkTenantPassword(t tenancy.Tenant, who tenancy.TenantUser, password string) string {
	return CheckNewPassword(password, who.Email, who.DisplayName, t.DisplayName, string(t.Slug))
}

// isToken reports whether a token can be one of ours; nothing else needs to be
// looked up.
func isToken(token string) bool {
	if strings.ContainsAny(token, "\r\n") { // which a decoder passes over
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	return err == nil && len(raw) == 32
}
