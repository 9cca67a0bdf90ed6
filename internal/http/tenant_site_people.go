package http

import (
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// tenantHome serves GET /.
func (s *server) tenantHome(c *gin.Context) error {
	if !wantsPage(c) {
		return answerJSON(c, http.StatusOK)
	}
	return renderTenant(c, http.StatusOK, console.TenantHomePage{TenantFrame: tenantFrame(c, "Start")})
}

// showTenantSignIn serves GET /sign-in.
func (s *server) showTenantSignIn(c *gin.Context) error {
	if !wantsPage(c) {
		return answerJSON(c, http.StatusOK)
	}
	if s.tenantToken(c) != "" {
		switch _, err := s.tenantSession(c); {
		case err == nil:
			return redirect(c, tenantHome)
		case tenancy.CodeOf(err) != tenancy.CodeUnauthenticated:
			return err
		}
	}
	return renderTenant(c, http.StatusOK, console.TenantSignInPage{TenantFrame: tenantFrame(c, "Sign in")})
}

// signInToTenant serves POST /sign-in.
func (s *server) signInToTenant(c *gin.Context) error {
	got, err := fields(c, "email", "password")
	if err != nil {
		return err
	}
	email := strings.TrimSpace(got["email"])
	signed, err := s.tenantSignIn(c, email, got["password"])
	if err == nil {
		return s.signedIn(c, signed, "")
	}
	if !wantsPage(c) {
		return err
	}
	status, shown := http.StatusUnauthorized, &console.Faults{Message: tenancy.AsError(err).Message}
	if tenancy.CodeOf(err) != tenancy.CodeUnauthenticated {
		if status, shown, err = s.visitorFaults(c, err); err != nil {
			return err
		}
	}
	frame := tenantFrame(c, "Sign in")
	frame.Faults = shown
	return renderTenant(c, status, console.TenantSignInPage{TenantFrame: frame, Email: email})
}

func (s *server) tenantSignIn(c *gin.Context, email, password string) (tenancy.TenantSignedIn, error) {
	var f faults
	if email == "" || len(email) > tenancy.MaxEmail {
		f.Add("/email", faultRequired, "Enter your e-mail address.")
	}
	if password == "" {
		f.Add("/password", faultRequired, "Enter your password.")
	}
	if err := f.Err(); err != nil {
		return tenancy.TenantSignedIn{}, err
	}
	if err := admit(c, s.limits.signIns); err != nil {
		return tenancy.TenantSignedIn{}, err
	}
	signed, err := s.TenantPeople.SignIn(c.Request.Context(), visitOf(c).tenant, tenancy.SignIn{
		Email: email, Password: password, Address: c.ClientIP(), Token: s.tenantToken(c),
	})
	if err == nil {
		s.limits.signIns.giveBack(network(c), 0)
	}
	return signed, err
}

// signedIn hands the browser a session just opened and leads it to the start.
func (s *server) signedIn(c *gin.Context, signed tenancy.TenantSignedIn, notice console.Notice) error {
	s.setTenantToken(c, signed.Token)
	visitOf(c).user = signed.User
	switch {
	case !wantsPage(c):
		return answerJSON(c, http.StatusOK)
	case notice == "":
		return redirect(c, tenantHome)
	}
	return redirectWith(c, tenantHome, notice)
}

// signOutOfTenant serves POST /sign-out. Whoever is signed out already is led the
// same way.
func (s *server) signOutOfTenant(c *gin.Context) error {
	token := s.tenantToken(c)
	s.setTenantToken(c, "")
	if err := s.TenantPeople.SignOut(c.Request.Context(), visitOf(c).tenant, token); err != nil {
		return err
	}
	if !wantsPage(c) {
		c.Status(http.StatusNoContent)
		return nil
	}
	return redirectWith(c, tenantSignIn, console.NoticeSignedOut)
}

type invitedJSON struct {
	Email       string    `json:"email"`
	DisplayName string    `json:"displayName"`
	Reset       bool      `json:"reset"`
	ExpiresAt   time.Time `json:"expiresAt"`
}

// showLink serves GET /first-sign-in and /reset-password. It uses nothing up:
// whoever scans mails follows links.
func (s *server) showLink(c *gin.Context) error {
	token := c.Query("token")
	inv, err := s.TenantPeople.Invitation(c.Request.Context(), visitOf(c).tenant, token)
	if tenancy.CodeOf(err) == tenancy.CodeNotFound {
		return s.deadLink(c)
	}
	if err != nil {
		return err
	}
	if !wantsPage(c) {
		shown := showVisit(c)
		shown.Invitation = &invitedJSON{inv.User.Email, inv.User.DisplayName, inv.Reset, inv.ExpiresAt.UTC()}
		return writeJSON(c, http.StatusOK, shown)
	}
	return s.renderLink(c, http.StatusOK, token, inv, nil)
}

func (s *server) renderLink(c *gin.Context, status int, token string, inv tenancy.OpenInvitation, shown *console.Faults) error {
	title := "Choose your password"
	if inv.Reset {
		title = "Choose a new password"
	}
	frame := tenantFrame(c, title)
	frame.Faults = shown
	return renderTenant(c, status, console.TenantLinkPage{TenantFrame: frame, Action: c.FullPath(), Token: token, Invited: inv})
}

// redeemLink serves POST /first-sign-in and /reset-password.
func (s *server) redeemLink(c *gin.Context) error {
	got, err := fields(c, "token", "password", "passwordAgain")
	if err != nil {
		return err
	}
	token, t, ctx := got["token"], visitOf(c).tenant, c.Request.Context()
	var signed tenancy.TenantSignedIn
	if err = checkAgain(got, "password"); err == nil {
		signed, err = s.TenantPeople.Redeem(ctx, t, token, got["password"], s.tenantToken(c))
	}
	switch {
	case err == nil:
		return s.signedIn(c, signed, console.NoticePasswordChosen)
	case tenancy.CodeOf(err) == tenancy.CodeNotFound:
		return s.deadLink(c)
	case !wantsPage(c):
		return err
	}
	status, shown, err := s.visitorFaults(c, err)
	if err != nil {
		return err
	}
	inv, err := s.TenantPeople.Invitation(ctx, t, token)
	if tenancy.CodeOf(err) == tenancy.CodeNotFound {
		return s.deadLink(c)
	}
	if err != nil {
		return err
	}
	return s.renderLink(c, status, token, inv, shown)
}

// checkAgain fails if a form's second field for a password differs from its first.
func checkAgain(got map[string]string, name string) error {
	again, typed := got["passwordAgain"]
	if !typed || again == got[name] {
		return nil
	}
	var f faults
	f.Add("/passwordAgain", faultInvalid, "This is not the password above.")
	return f.Err()
}

// showForgotten serves GET /forgotten-password.
func (s *server) showForgotten(c *gin.Context) error {
	if !wantsPage(c) {
		return answerJSON(c, http.StatusOK)
	}
	return renderTenant(c, http.StatusOK, console.TenantForgottenPage{TenantFrame: tenantFrame(c, "Forgotten password")})
}

// forgotTenantPassword serves POST /forgotten-password. Nothing in the answer
// depends on whether somebody has the address.
func (s *server) forgotTenantPassword(c *gin.Context) error {
	got, err := fields(c, "email")
	if err != nil {
		return err
	}
	page := console.TenantForgottenPage{Email: strings.TrimSpace(got["email"])}
	var f faults
	f.Email("/email", page.Email)
	if err = f.Err(); err == nil {
		err = admit(c, s.limits.resets)
	}
	if err == nil {
		err = s.TenantPeople.ForgotPassword(c.Request.Context(), visitOf(c).tenant, page.Email, c.ClientIP())
	}
	status := http.StatusAccepted
	switch {
	case !wantsPage(c):
		if err != nil {
			return err
		}
		return answerJSON(c, status)
	case err == nil:
		page.Asked = true
	}
	var shown *console.Faults
	if err != nil {
		if status, shown, err = s.visitorFaults(c, err); err != nil {
			return err
		}
	}
	page.TenantFrame = tenantFrame(c, "Forgotten password")
	page.Faults = shown
	return renderTenant(c, status, page)
}

// showTenantPassword serves GET /password.
func (s *server) showTenantPassword(c *gin.Context) error {
	if !wantsPage(c) {
		return answerJSON(c, http.StatusOK)
	}
	return renderTenant(c, http.StatusOK, console.TenantPasswordPage{TenantFrame: tenantFrame(c, "Change your password")})
}

// changeTenantPassword serves POST /password.
func (s *server) changeTenantPassword(c *gin.Context) error {
	got, err := fields(c, "currentPassword", "newPassword", "passwordAgain")
	if err != nil {
		return err
	}
	if err = checkAgain(got, "newPassword"); err == nil {
		err = s.TenantPeople.ChangePassword(c.Request.Context(), visitOf(c).tenant, s.tenantToken(c), c.ClientIP(), got["currentPassword"], got["newPassword"])
	}
	switch {
	case err == nil && wantsPage(c):
		return redirectWith(c, tenantHome, console.NoticePasswordChanged)
	case err == nil:
		c.Status(http.StatusNoContent)
		return nil
	case !wantsPage(c):
		return err
	}
	status, shown, err := s.visitorFaults(c, err)
	if err != nil {
		return err
	}
	frame := tenantFrame(c, "Change your password")
	frame.Faults = shown
	return renderTenant(c, status, console.TenantPasswordPage{TenantFrame: frame})
}
