package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"image/png"
	"strings"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// recoveryCodes is how many one-time codes come with a second factor.
const recoveryCodes = 10

// totpPeriod is the life of a code in seconds (RFC 6238's recommendation, and
// what every app does).
const totpPeriod = 30

// BeginSecondFactor makes a TOTP secret for the caller. It fails with
// CodeConflict if one is set up.
func (s *Sessions) BeginSecondFactor(ctx context.Context, p tenancy.Principal) (tenancy.Enrolment, error) {
	e, err := enrolment(p.Name, nil)
	if err != nil {
		return e, err
	}
	return e, s.Store.BeginSecondFactor(ctx, p.UserID, e.Secret)
}

// PendingSecondFactor is the one the caller began and did not confirm; ok is
// false if there is none.
func (s *Sessions) PendingSecondFactor(ctx context.Context, p tenancy.Principal) (e tenancy.Enrolment, ok bool, err error) {
	a, err := s.Store.Account(ctx, p.UserID)
	if err != nil || a.SecondFactor || a.TOTPSecret == "" {
		return e, false, err
	}
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(a.TOTPSecret)
	if err != nil {
		return e, false, fmt.Errorf("cannot read the second factor: %w", err)
	}
	e, err = enrolment(p.Name, secret)
	return e, err == nil, err
}

// enrolment describes a secret, a new one if it is nil.
func enrolment(name string, secret []byte) (e tenancy.Enrolment, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "tenantry", AccountName: name, Period: totpPeriod, Secret: secret})
	if err != nil {
		return e, fmt.Errorf("cannot make a second factor: %w", err)
	}
	image, err := key.Image(200, 200)
	if err != nil {
		return e, fmt.Errorf("cannot draw the second factor: %w", err)
	}
	var qr bytes.Buffer
	if err := png.Encode(&qr, image); err != nil {
		return e, fmt.Errorf("cannot draw the second factor: %w", err)
	}
	return tenancy.Enrolment{Secret: key.Secret(), URL: key.URL(), QR: qr.Bytes()}, nil
}

// ConfirmSecondFactor makes the begun second factor count, and returns recovery
// codes, which are shown this once. A wrong code fails with a fault at /code.
func (s *Sessions) ConfirmSecondFactor(ctx context.Context, p tenancy.Principal, address, code string) ([]string, error) {
	if err := s.begin(ctx, p.Name, address); err != nil {
		return nil, err
	}
	a, err := s.Store.Account(ctx, p.UserID)
	if err != nil {
		return nil, err
	}
	if a.SecondFactor || a.TOTPSecret == "" {
		return nil, tenancy.Errorf(tenancy.CodeConflict, "There is no second factor to confirm.")
	}
	step, ok := s.totpStep(a.TOTPSecret, code)
	if !ok {
		return nil, wrongCode()
	}
	codes := make([]string, recoveryCodes)
	hashes := make([][]byte, recoveryCodes)
	for i := range codes {
		text := strings.ToLower(rand.Text()[:15]) // 75 bits, beside a password
		codes[i] = text[:5] + "-" + text[5:10] + "-" + text[10:]
		hashes[i] = HashToken(text)
	}
	if err := s.Store.ConfirmSecondFactor(ctx, p.UserID, a.TOTPSecret, step, hashes, p.SessionID, p.Actor); err != nil {
		return nil, err
	}
	return codes, s.Store.SignInSucceeded(ctx, "", p.Name, address)
}

// RemoveSecondFactor takes the caller's second factor away, against their
// password. It fails with CodeConflict where one is required.
func (s *Sessions) RemoveSecondFactor(ctx context.Context, p tenancy.Principal, address, password string) error {
	if s.RequireMFA && p.Role == tenancy.RoleAdmin {
		return tenancy.Errorf(tenancy.CodeConflict, "Administrators need a second factor here.")
	}
	if _, err := s.confirm(ctx, p, address, password); err != nil {
		return err
	}
	return s.Store.RemoveSecondFactor(ctx, p.UserID, p.SessionID, p.Actor)
}

// ShowSecondFactor lifts a pending session, against a code. A wrong one fails
// with a fault at /code.
func (s *Sessions) ShowSecondFactor(ctx context.Context, p tenancy.Principal, address, code string) error {
	if err := s.begin(ctx, p.Name, address); err != nil {
		return err
	}
	a, err := s.Store.Account(ctx, p.UserID)
	if err != nil {
		return err
	}
	if !a.SecondFactor {
		return tenancy.Errorf(tenancy.CodeConflict, "No second factor is set up.")
	}
	if err := s.checkCode(ctx, a, code); err != nil {
		return err
	}
	if err := s.Store.SessionShowedSecondFactor(ctx, p.SessionID, p.Actor); err != nil {
		return err
	}
	return s.Store.SignInSucceeded(ctx, "", p.Name, address)
}

// checkCode takes a TOTP or a recovery code, each of which works once.
func (s *Sessions) checkCode(ctx context.Context, a tenancy.Account, code string) error {
	code = strings.ToLower(strings.NewReplacer(" ", "", "-", "").Replace(strings.TrimSpace(code)))
	if code == "" {
		return &tenancy.Error{
			Code: tenancy.CodeUnauthenticated, Message: "The code of the second factor is needed too.",
			Fields: []tenancy.FieldError{{Pointer: "/code", Code: "required", Detail: "Enter the code of your authenticator app, or a recovery code."}},
		}
	}
	var valid bool
	var err error
	if step, ok := s.totpStep(a.TOTPSecret, code); ok {
		valid, err = s.Store.UseTOTPStep(ctx, a.ID, step)
	} else {
		valid, err = s.Store.UseRecoveryCode(ctx, a.ID, HashToken(code))
	}
	if err == nil && !valid {
		return wrongCode()
	}
	return err
}

func wrongCode() error {
	const said = "This code is wrong or was used already."
	return &tenancy.Error{
		Code: tenancy.CodeUnauthenticated, Message: said,
		Fields: []tenancy.FieldError{{Pointer: "/code", Code: "invalid", Detail: said}},
	}
}

// totpStep returns the time step a code is right for: now, or one before or
// after, for clocks that differ and people who type slowly.
func (s *Sessions) totpStep(secret, code string) (step int64, ok bool) {
	now := s.Now().Unix() / totpPeriod
	for _, step := range []int64{now, now - 1, now + 1} {
		want, err := hotp.GenerateCodeCustom(secret, uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return step, true
		}
	}
	return 0, false
}
