package auth

import (
	"context"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// freshness is how long after signing in a person may do what cannot be undone.
const freshness = 10 * time.Minute

// SessionStore keeps accounts, sessions by their token's hash, and attempts.
type SessionStore interface {
	// BeginSignIn counts an attempt; a wait above zero refuses it.
	BeginSignIn(ctx context.Context, scope, account, address string) (wait time.Duration, err error)
	SignInSucceeded(ctx context.Context, scope, account, address string) error
	// AccountByEmail and Account fail with CodeNotFound.
	AccountByEmail(ctx context.Context, email string) (tenancy.Account, error)
	Account(ctx context.Context, id tenancy.UserID) (tenancy.Account, error)
	UseTOTPStep(ctx context.Context, id tenancy.UserID, step int64) (fresh bool, err error)
	UseRecoveryCode(ctx context.Context, id tenancy.UserID, hash []byte) (valid bool, err error)
	OpenSession(ctx context.Context, u tenancy.Account, hash []byte, sn tenancy.Session, replaced tenancy.SessionID) (tenancy.Session, error)
	// SessionByToken fails with CodeUnauthenticated.
	SessionByToken(ctx context.Context, hash []byte) (tenancy.Session, tenancy.User, error)
	SessionShowedSecondFactor(ctx context.Context, id tenancy.SessionID, actor tenancy.Actor) error
	EndSession(ctx context.Context, id tenancy.SessionID, owner tenancy.UserID, actor tenancy.Actor) error
	UserFromProvider(ctx context.Context, id tenancy.ExternalIdentity) (tenancy.User, error)
	SetPassword(ctx context.Context, id tenancy.UserID, hash string, except tenancy.SessionID, actor tenancy.Actor) error
	BeginSecondFactor(ctx context.Context, id tenancy.UserID, secret string) error
	ConfirmSecondFactor(ctx context.Context, id tenancy.UserID, secret string, step int64, codes [][]byte, session tenancy.SessionID, actor tenancy.Actor) error
	RemoveSecondFactor(ctx context.Context, id tenancy.UserID, session tenancy.SessionID, actor tenancy.Actor) error
}

// Sessions signs platform users in and out, and knows them by their session.
type Sessions struct {
	Store     SessionStore
	Passwords *Passwords
	// RequireMFA has admins show a second factor, or first set one up.
	RequireMFA bool
	Now        func() time.Time
}

// SignIn opens a session with a token of its own. It fails with
// CodeUnauthenticated, in the same words and the same time whether the account
// is unknown, disabled or the password wrong; with a fault at /code if that is
// all that is missing; and with CodeRateLimited after too many attempts.
func (s *Sessions) SignIn(ctx context.Context, in tenancy.SignIn) (tenancy.SignedIn, error) {
	if err := s.begin(ctx, in.Email, in.Address); err != nil {
		return tenancy.SignedIn{}, err
	}
	a, err := s.Store.AccountByEmail(ctx, in.Email)
	if err != nil && tenancy.CodeOf(err) != tenancy.CodeNotFound {
		return tenancy.SignedIn{}, err
	}
	hash := a.PasswordHash
	if !a.IsActive {
		hash = ""
	}
	right, err := s.Passwords.Check(ctx, in.Password, hash)
	if err != nil {
		return tenancy.SignedIn{}, err
	}
	if !right {
		return tenancy.SignedIn{}, tenancy.Errorf(tenancy.CodeUnauthenticated, "The e-mail address or the password is wrong.")
	}
	if a.SecondFactor {
		if err := s.checkCode(ctx, a, in.Code); err != nil {
			return tenancy.SignedIn{}, err
		}
	}
	signed, err := s.open(ctx, a, in, tenancy.Session{SecondFactor: a.SecondFactor})
	if err != nil {
		return signed, err
	}
	// To forget the attempts before is a favour: without it the person is signed in
	// all the same.
	_ = s.Store.SignInSucceeded(ctx, "", in.Email, in.Address)
	return signed, nil
}

// SignInExternal opens a session for whom an OpenID Connect provider vouches.
// secondFactor says that the provider saw one.
func (s *Sessions) SignInExternal(ctx context.Context, id tenancy.ExternalIdentity, secondFactor bool, in tenancy.SignIn) (tenancy.SignedIn, error) {
	u, err := s.Store.UserFromProvider(ctx, id)
	if err != nil {
		return tenancy.SignedIn{}, err
	}
	at := id.AuthenticatedAt
	if at.IsZero() {
		at = time.Unix(0, 0) // the provider does not say: long ago
	}
	return s.open(ctx, tenancy.Account{User: u}, in, tenancy.Session{SecondFactor: secondFactor, AuthenticatedAt: at})
}

func (s *Sessions) open(ctx context.Context, a tenancy.Account, in tenancy.SignIn, sn tenancy.Session) (tenancy.SignedIn, error) {
	var replaced tenancy.SessionID
	if in.Token != "" {
		if before, _, err := s.Store.SessionByToken(ctx, HashToken(in.Token)); err == nil {
			replaced = before.ID
		}
	}
	token := NewToken()
	sn.Address, sn.UserAgent = in.Address, clip(in.UserAgent, 300)
	sn, err := s.Store.OpenSession(ctx, a, HashToken(token), sn, replaced)
	if err != nil {
		return tenancy.SignedIn{}, err
	}
	return tenancy.SignedIn{Session: sn, User: a.User, Token: token}, nil
}

// begin counts an attempt on an account and refuses it after too many.
func (s *Sessions) begin(ctx context.Context, account, address string) error {
	wait, err := s.Store.BeginSignIn(ctx, "", account, address)
	if err != nil || wait <= 0 {
		return err
	}
	return &tenancy.Error{
		Code: tenancy.CodeRateLimited, RetryAfter: wait,
		Message: "There were too many attempts to sign in. Try again later.",
	}
}

// Authenticate returns whom a session's token stands for, or
// CodeUnauthenticated.
func (s *Sessions) Authenticate(ctx context.Context, token string) (tenancy.Principal, error) {
	sn, u, err := s.Store.SessionByToken(ctx, HashToken(token))
	if err != nil {
		return tenancy.Principal{}, err
	}
	return tenancy.Principal{
		Actor: tenancy.Actor{UserID: u.ID, Name: u.Email}, Role: u.Role,
		SessionID: sn.ID, AuthenticatedAt: sn.AuthenticatedAt,
		Pending: !sn.SecondFactor && (u.SecondFactor || s.RequireMFA && u.Role == tenancy.RoleAdmin),
	}, nil
}

// Fresh reports whether the caller may do what cannot be undone: a person who
// signed in just now, or a program with a token.
func (s *Sessions) Fresh(p tenancy.Principal) bool {
	return p.SessionID == "" || s.Now().Sub(p.AuthenticatedAt) < freshness
}

// SignOut ends the caller's session.
func (s *Sessions) SignOut(ctx context.Context, p tenancy.Principal) error {
	return s.Store.EndSession(ctx, p.SessionID, p.UserID, p.Actor)
}

// ChangePassword sets the caller's password and ends their other sessions. It
// fails with CodeInvalidRequest, with a fault at /currentPassword or
// /newPassword.
func (s *Sessions) ChangePassword(ctx context.Context, p tenancy.Principal, address, current, chosen string) error {
	a, err := s.confirm(ctx, p, address, current)
	if err != nil {
		return err
	}
	if fault := CheckNewPassword(chosen, a.Email, a.DisplayName); fault != "" {
		return faultAt("/newPassword", fault)
	}
	hash, err := s.Passwords.Hash(ctx, chosen)
	if err != nil {
		return err
	}
	return s.Store.SetPassword(ctx, p.UserID, hash, p.SessionID, p.Actor)
}

// confirm asks the caller's password once more, as limited as signing in is.
func (s *Sessions) confirm(ctx context.Context, p tenancy.Principal, address, password string) (tenancy.Account, error) {
	a, err := s.Store.Account(ctx, p.UserID)
	if err != nil {
		return a, err
	}
	if a.PasswordHash == "" {
		return a, tenancy.Errorf(tenancy.CodeConflict, "This account has no password: it signs in through the identity provider.")
	}
	if err := s.begin(ctx, a.Email, address); err != nil {
		return a, err
	}
	right, err := s.Passwords.Check(ctx, password, a.PasswordHash)
	if err != nil {
		return a, err
	}
	if !right {
		return a, faultAt("/currentPassword", "This is not your password.")
	}
	return a, s.Store.SignInSucceeded(ctx, "", a.Email, address)
}

func faultAt(pointer, detail string) *tenancy.Error {
	return &tenancy.Error{
		Code: tenancy.CodeInvalidRequest, Message: detail,
		Fields: []tenancy.FieldError{{Pointer: pointer, Code: "invalid", Detail: detail}},
	}
}

func clip(s string, most int) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s[:min(len(s), most)], "\x00", ""), "")
}
