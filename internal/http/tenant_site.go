package http

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// A tenant's own pages. They answer at TenantURL alone, whose hosts never reach
// the platform's API, and no other host reaches them. Where a page leads is a
// path, never made of what the request says of its host.

// TenantPeople lets tenants' people in. Besides the codes named beside a method
// each fails with what the tenant's status does not allow.
type TenantPeople interface {
	// Tenant returns a tenant of whatever status, or CodeNotFound.
	Tenant(ctx context.Context, slug tenancy.Slug) (tenancy.Tenant, error)
	// Invitation looks at a link's token without using it; Redeem uses it up and
	// signs its owner in. Both fail with CodeNotFound if the link does not work.
	Invitation(ctx context.Context, t tenancy.Tenant, token string) (tenancy.OpenInvitation, error)
	Redeem(ctx context.Context, t tenancy.Tenant, token, password, before string) (tenancy.TenantSignedIn, error)
	// SignIn fails with CodeUnauthenticated, and with CodeRateLimited after too
	// many attempts.
	SignIn(ctx context.Context, t tenancy.Tenant, in tenancy.SignIn) (tenancy.TenantSignedIn, error)
	// Session fails with CodeUnauthenticated.
	Session(ctx context.Context, t tenancy.Tenant, session string) (tenancy.TenantUser, error)
	SignOut(ctx context.Context, t tenancy.Tenant, session string) error
	ChangePassword(ctx context.Context, t tenancy.Tenant, session, address, current, chosen string) error
	ForgotPassword(ctx context.Context, t tenancy.Tenant, email, address string) error
}

// visit is a request for a tenant's own pages.
type visit struct {
	slug tenancy.Slug
	// tenant is zero until it is known that there is one whose name may be told.
	tenant tenancy.Tenant
	// user is zero until the session is known to hold.
	user tenancy.TenantUser
}

type slugKey struct{}

// withTenantSite parts the requests: a tenant's host gets its own pages, any
// other the platform. The host of PublicURL is never a tenant's.
func (s *server) withTenantSite(platform http.Handler) (http.Handler, error) {
	var err error
	if s.site, err = tenancy.ParseTenantURL(s.TenantURL); err != nil {
		return nil, fmt.Errorf("TENANT_URL %w", err)
	}
	public, err := url.Parse(s.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("cannot use PUBLIC_URL: %w", err)
	}
	ours := s.site.SlugOfName(public.Hostname(), nil)
	site, err := s.tenantEngine()
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		slug := s.site.Slug(r.Host, s.Reserved)
		if slug == "" || slug == ours {
			platform.ServeHTTP(w, r)
			return
		}
		site.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), slugKey{}, slug)))
	}), nil
}

func (s *server) tenantEngine() (*gin.Engine, error) {
	engine, err := s.newEngine(s.observe, receive, s.recoverPanic, s.protect)
	if err != nil {
		return nil, err
	}
	// These ask no tenant's status.
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		engine.Handle(method, console.AssetsPath+"*path", gin.WrapH(console.Assets()))
		engine.Handle(method, "/healthz", func(c *gin.Context) { _ = s.healthz(c) })
	}
	engine.Use(s.enter)
	for _, r := range s.tenantRoutes() {
		engine.Handle(r.method, r.path, s.visited(r))
		if r.method == http.MethodGet {
			engine.HEAD(r.path, s.visited(r))
		}
	}
	return engine, nil
}

// tenantRoute is one line of the table of a tenant's own pages.
type tenantRoute struct {
	method, path string
	// signedIn: it is for people who are signed in, and leads others to do so.
	signedIn bool
	// changes: it leads to a change, so it is closed while the tenant is only read.
	changes bool
	handle  func(*gin.Context) error
}

const (
	tenantHome      = "/"
	tenantSignIn    = "/sign-in"
	tenantForgotten = "/forgotten-password"
	tenantReset     = "/reset-password"
)

func (s *server) tenantRoutes() []tenantRoute {
	return []tenantRoute{
		{"GET", tenantHome, true, false, s.tenantHome},
		{"GET", tenantSignIn, false, false, s.showTenantSignIn},
		{"POST", tenantSignIn, false, false, s.signInToTenant},
		{"POST", "/sign-out", false, false, s.signOutOfTenant},
		{"GET", "/first-sign-in", false, true, s.showLink},
		{"POST", "/first-sign-in", false, true, s.redeemLink},
		{"GET", tenantReset, false, true, s.showLink},
		{"POST", tenantReset, false, true, s.redeemLink},
		{"GET", tenantForgotten, false, true, s.showForgotten},
		{"POST", tenantForgotten, false, true, s.forgotTenantPassword},
		{"GET", "/password", true, true, s.showTenantPassword},
		{"POST", "/password", true, true, s.changeTenantPassword},
	}
}

func visitOf(c *gin.Context) *visit { return exchangeOf(c).visit }

// receive notes whose pages are asked for. It stands before all that may answer.
func receive(c *gin.Context) {
	slug, _ := c.Request.Context().Value(slugKey{}).(tenancy.Slug)
	exchangeOf(c).visit = &visit{slug: slug}
}

// enter lets nobody pass unless there is such a tenant and it may be read, and
// bounds what comes after.
func (s *server) enter(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), requestTimeout)
	defer cancel()
	c.Request = c.Request.WithContext(ctx)
	v := visitOf(c)
	t, err := s.TenantPeople.Tenant(ctx, v.slug)
	if err == nil {
		err = t.Status.CheckRead()
	}
	if tenancy.CodeOf(err) == tenancy.CodeNotFound {
		err = nothingHere() // not yet, or never: the answer is the same
	} else {
		v.tenant = t
	}
	if err != nil {
		c.Abort()
		s.answerVisitor(c, err)
		return
	}
	c.Next()
}

// visited serves a route to those it is for.
func (s *server) visited(r tenantRoute) gin.HandlerFunc {
	return func(c *gin.Context) {
		v := visitOf(c)
		var err error
		if r.signedIn {
			v.user, err = s.tenantSession(c)
		}
		if err == nil && r.changes {
			err = v.tenant.Status.CheckWrite()
		}
		if err == nil {
			err = r.handle(c)
		}
		if err != nil {
			s.answerVisitor(c, err)
		}
	}
}

// tenantCookie is the name of the session's cookie: see sessionCookie.
func (s *server) tenantCookie() string {
	if s.site.Secure() {
		return "__Host-tenantry_tenant"
	}
	return "tenantry_tenant"
}

// tenantToken is the session's token as the browser sent it, "" if it sent none.
func (s *server) tenantToken(c *gin.Context) string {
	cookie, err := c.Request.Cookie(s.tenantCookie())
	if err != nil || len(cookie.Value) > 100 {
		return ""
	}
	return cookie.Value
}

// setTenantToken hands the browser its session; "" takes it away.
func (s *server) setTenantToken(c *gin.Context, token string) {
	cookie := &http.Cookie{
		Name: s.tenantCookie(), Value: token, Path: "/", Secure: s.site.Secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if token == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(c.Writer, cookie)
}

// tenantSession returns who is signed in, or CodeUnauthenticated.
func (s *server) tenantSession(c *gin.Context) (tenancy.TenantUser, error) {
	token := s.tenantToken(c)
	who, err := s.TenantPeople.Session(c.Request.Context(), visitOf(c).tenant, token)
	if token != "" && tenancy.CodeOf(err) == tenancy.CodeUnauthenticated {
		s.setTenantToken(c, "")
	}
	return who, err
}

// fields reads the named fields of a form or of a JSON object of strings. What is
// not there is empty.
func fields(c *gin.Context, names ...string) (map[string]string, error) {
	got := make(map[string]string)
	if !strings.HasPrefix(c.GetHeader("Content-Type"), "application/x-www-form-urlencoded") {
		if err := decode(c, &got); err != nil {
			return nil, err
		}
		var f faults
		for name := range got {
			if !slices.Contains(names, name) {
				f.Add("/"+pointerEscapes.Replace(name), faultUnknown, "There is no such field.")
			}
		}
		return got, f.Err()
	}
	values, err := form(c)
	for _, name := range names {
		if values.Has(name) {
			got[name] = values.Get(name)
		}
	}
	return got, err
}

type visitedJSON struct {
	Slug        tenancy.Slug         `json:"slug"`
	DisplayName string               `json:"displayName"`
	Status      tenancy.TenantStatus `json:"status"`
}

type visitorJSON struct {
	UserID      tenancy.TenantUserID `json:"userId"`
	Email       string               `json:"email"`
	DisplayName string               `json:"displayName"`
	Role        tenancy.TenantRole   `json:"role"`
}

// visitJSON is what a tenant's pages say to programs.
type visitJSON struct {
	Tenant     visitedJSON  `json:"tenant"`
	User       *visitorJSON `json:"user,omitempty"`
	Invitation *invitedJSON `json:"invitation,omitempty"`
}

// answerJSON says which tenant it is and, if that is known, who is signed in.
func answerJSON(c *gin.Context, status int) error { return writeJSON(c, status, showVisit(c)) }

func showVisit(c *gin.Context) visitJSON {
	v := visitOf(c)
	shown := visitJSON{Tenant: visitedJSON{v.tenant.Slug, v.tenant.DisplayName, v.tenant.Status}}
	if v.user.ID != "" {
		shown.User = &visitorJSON{v.user.ID, v.user.Email, v.user.DisplayName, v.user.Role}
	}
	return shown
}
