package http

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Sessions signs people in and out. Every method that takes a secret fails with
// CodeRateLimited after too many attempts on the account or from the address.
type Sessions interface {
	// SignIn fails with CodeUnauthenticated, with a fault at /code if that is all
	// that is missing.
	SignIn(ctx context.Context, in tenancy.SignIn) (tenancy.SignedIn, error)
	SignInExternal(ctx context.Context, id tenancy.ExternalIdentity, secondFactor bool, in tenancy.SignIn) (tenancy.SignedIn, error)
	// Authenticate fails with CodeUnauthenticated if nobody has the token.
	Authenticate(ctx context.Context, token string) (tenancy.Principal, error)
	Fresh(p tenancy.Principal) bool
	SignOut(ctx context.Context, p tenancy.Principal) error
	Account(ctx context.Context, id tenancy.UserID) (tenancy.Account, error)
	ListSessions(ctx context.Context, owner tenancy.UserID) ([]tenancy.Session, error)
	EndSession(ctx context.Context, id tenancy.SessionID, owner tenancy.UserID, actor tenancy.Actor) error
	ChangePassword(ctx context.Context, p tenancy.Principal, address, current, chosen string) error
	BeginSecondFactor(ctx context.Context, p tenancy.Principal) (tenancy.Enrolment, error)
	PendingSecondFactor(ctx context.Context, p tenancy.Principal) (e tenancy.Enrolment, ok bool, err error)
	ConfirmSecondFactor(ctx context.Context, p tenancy.Principal, address, code string) (recoveryCodes []string, err error)
	ShowSecondFactor(ctx context.Context, p tenancy.Principal, address, code string) error
	RemoveSecondFactor(ctx context.Context, p tenancy.Principal, address, password string) error
}

const sessionPath = "/platform/session"

// sessionCookie is the cookie's name. The prefix has browsers take it only over
// TLS, for this very host and all of it; plain http is for loopback alone.
func (s *server) sessionCookie() string {
	if s.secure() {
		return "__Host-tenantry_session"
	}
	return "tenantry_session"
}

func (s *server) secure() bool { return strings.HasPrefix(s.PublicURL, "https://") }

func (s *server) setCookie(c *gin.Context, name, value string, maxAge int) {
	http.SetCookie(c.Writer, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: s.secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// setSession hands the browser its session, and takes an ended one's cookie away
// if the token is empty.
func (s *server) setSession(c *gin.Context, token string) {
	if token == "" {
		s.setCookie(c, s.sessionCookie(), "", -1)
		return
	}
	s.setCookie(c, s.sessionCookie(), token, 0)
}

func (s *server) sessionToken(c *gin.Context) string {
	// c.Cookie would unescape: a token needs none.
	cookie, err := c.Request.Cookie(s.sessionCookie())
	if err != nil || len(cookie.Value) > 100 {
		return ""
	}
	return cookie.Value
}

type sessionJSON struct {
	SessionID tenancy.SessionID `json:"sessionId"`
	User      userJSON          `json:"user"`
	// SecondFactorPending: nothing else is answered before the second factor is
	// shown or, where none is set up, set up.
	SecondFactorPending bool      `json:"secondFactorPending"`
	ExpiresAt           time.Time `json:"expiresAt"`
}

type signInRequest struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	Code     string `json:"code"`
}

// signIn serves POST /platform/session.
func (s *server) signIn(c *gin.Context) error {
	var req signInRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	signed, err := s.openSession(c, req)
	if err != nil {
		return err
	}
	p, err := s.Sessions.Authenticate(c.Request.Context(), signed.Token)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusCreated, sessionJSON{
		SessionID: signed.ID, SecondFactorPending: p.Pending, ExpiresAt: signed.ExpiresAt.UTC(), User: showUser(signed.User),
	})
}

func showUser(u tenancy.User) userJSON {
	return userJSON{PlatformUserID: u.ID, Email: u.Email, DisplayName: u.DisplayName, Role: u.Role}
}

// openSession signs the browser in, always with a token of its own: whatever it
// had before is worth nothing afterwards.
func (s *server) openSession(c *gin.Context, req signInRequest) (tenancy.SignedIn, error) {
	var f faults
	if req.Email = strings.TrimSpace(req.Email); req.Email == "" || len(req.Email) > tenancy.MaxEmail {
		f.Add("/email", faultRequired, "Enter your e-mail address.")
	}
	if req.Password == "" {
		f.Add("/password", faultRequired, "Enter your password.")
	}
	if err := f.Err(); err != nil {
		return tenancy.SignedIn{}, err
	}
	signed, err := s.Sessions.SignIn(c.Request.Context(), tenancy.SignIn{
		Email: req.Email, Password: req.Password, Code: req.Code,
		Address: c.ClientIP(), UserAgent: c.Request.UserAgent(), Token: s.sessionToken(c),
	})
	if err != nil {
		if tenancy.CodeOf(err) == tenancy.CodeUnauthenticated && !missingCode(err) {
			return signed, s.refuse(c, tenancy.AsError(err))
		}
		return signed, err
	}
	s.setSession(c, signed.Token)
	return signed, nil
}

// missingCode reports whether the second factor is all that a sign-in lacks.
func missingCode(err error) bool {
	e := tenancy.AsError(err)
	return len(e.Fields) == 1 && e.Fields[0].Pointer == "/code" && e.Fields[0].Code == faultRequired
}

// getSession serves GET /platform/session: who the caller is.
func (s *server) getSession(c *gin.Context) error {
	p := exchangeOf(c).principal
	account, err := s.Sessions.Account(c.Request.Context(), p.UserID)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, callerJSON{User: showUser(account.User), SessionID: orNull(p.SessionID), TokenID: orNull(p.TokenID), SecondFactorPending: p.Pending})
}

type callerJSON struct {
	User                userJSON           `json:"user"`
	SessionID           *tenancy.SessionID `json:"sessionId"`
	TokenID             *tenancy.TokenID   `json:"tokenId"`
	SecondFactorPending bool               `json:"secondFactorPending"`
}

// signOut serves DELETE /platform/session.
func (s *server) signOut(c *gin.Context) error {
	if err := s.endSession(c); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

func (s *server) endSession(c *gin.Context) error {
	p := exchangeOf(c).principal
	if p.SessionID == "" {
		return tenancy.Errorf(tenancy.CodeConflict, "An API token has no session to end.")
	}
	s.setSession(c, "")
	err := s.Sessions.SignOut(c.Request.Context(), p)
	if tenancy.CodeOf(err) == tenancy.CodeNotFound {
		return nil // ended meanwhile
	}
	return err
}

// signInForm is the sign-in page's form.
type signInForm struct {
	email, next string
	// askCode shows the field for the second factor.
	askCode bool
	// fresh says that the person is signed in and is asked once more.
	fresh bool
	kept  *console.KeptForm
}

// signInPage serves the page GET /platform/session.
func (s *server) signInPage(c *gin.Context) error {
	form := signInForm{next: localPath(c.Query("next")), fresh: c.Query("fresh") != ""}
	if p, err := s.identify(c); err == nil {
		if !form.fresh {
			return redirect(c, form.next)
		}
		form.email = p.Name
	}
	s.renderSignIn(c, http.StatusOK, form, nil)
	return nil
}

func (s *server) renderSignIn(c *gin.Context, status int, form signInForm, faults *console.Faults) {
	page := console.SignInPage{
		Frame: s.frame(c, "", "Sign in"), Email: form.email, Next: form.next, AskCode: form.askCode, Fresh: form.fresh,
		Faults: faults, Kept: form.kept, OIDC: s.OIDC != nil,
	}
	page.User = nil
	if err := s.render(c, status, page, ""); err != nil {
		panic(err) // it has been rendered by a test
	}
}

// signInFromPage serves the form of the sign-in page.
func (s *server) signInFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	f := signInForm{email: values.Get("email"), next: localPath(values.Get("next")), fresh: values.Get("fresh") != "", kept: keptAgain(values)}
	_, err = s.openSession(c, signInRequest{Email: f.email, Password: values.Get("password"), Code: values.Get("code")})
	if err != nil {
		e := tenancy.AsError(err)
		status := outcomes[e.Code].status
		faults := faultsOf(e)
		f.askCode = faults.Of("code") != ""
		if status >= http.StatusInternalServerError {
			return err
		}
		s.setErrorHeaders(c, s.problemOf(c, err))
		s.renderSignIn(c, status, f, faults)
		return nil
	}
	if f.kept == nil {
		return redirect(c, f.next)
	}
	page := console.ResumePage{Frame: s.frame(c, "", "Go on where you were"), Kept: *f.kept}
	return s.render(c, http.StatusOK, page, "")
}

// signOutFromPage serves the sign-out button.
func (s *server) signOutFromPage(c *gin.Context) error {
	if err := s.endSession(c); err != nil {
		return err
	}
	return redirectWith(c, sessionPath, console.NoticeSignedOut)
}

// keptForm is what somebody typed before they were found signed out: all but
// secrets. Only this console's own forms are kept.
func keptForm(c *gin.Context) *console.KeptForm {
	values, err := form(c)
	if err != nil || len(values) == 0 {
		return nil
	}
	return keep(c.Request.URL.Path, values)
}

func keep(action string, values url.Values) *console.KeptForm {
	if localPath(action) != action {
		return nil
	}
	kept := &console.KeptForm{Action: action}
	for _, name := range sortedKeys(values) {
		if secretField(name) {
			continue
		}
		for _, value := range values[name] {
			kept.Fields = append(kept.Fields, console.KeptField{Name: name, Value: value})
		}
	}
	return kept
}

func secretField(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "password") || strings.Contains(name, "token") || name == "code"
}

// keptAgain reads a kept form back from the sign-in's own.
func keptAgain(values url.Values) *console.KeptForm {
	fields, err := url.ParseQuery(values.Get("kept"))
	if err != nil || values.Get("kept_action") == "" {
		return nil
	}
	return keep(values.Get("kept_action"), fields)
}
