package http

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// maxForm is the most a form may have, in bytes.
const maxForm = 64 << 10

// pagePolicy is the Content-Security-Policy of every page: everything comes from
// here, nothing is inline. data: is what the style sheet's own pictures are.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// wantsPage reports whether the caller is to get a page: one whose Accept names
// text/html.
func wantsPage(c *gin.Context) bool {
	for _, accept := range c.Request.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			media, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(media), "text/html") {
				return true
			}
		}
	}
	return false
}

// isFragment reports whether htmx asks for a part of a page.
func isFragment(c *gin.Context) bool { return c.GetHeader("HX-Request") == "true" }

// render answers with a page or, to htmx, with the named part of it; an empty
// fragment always answers with the whole.
func (s *server) render(c *gin.Context, status int, page console.Page, fragment string) error {
	var body bytes.Buffer
	var err error
	if fragment != "" && isFragment(c) {
		err = console.RenderFragment(&body, page, fragment)
	} else {
		err = console.Render(&body, page)
	}
	if err != nil {
		return tenancy.Wrap(tenancy.CodeInternal, err, "cannot write the page")
	}
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Add("Vary", "Accept, HX-Request, Cookie")
	c.Data(status, "text/html; charset=utf-8", body.Bytes())
	return nil
}

// frame is what is around a page: who is signed in, and where they are.
func (s *server) frame(c *gin.Context, section, title string) console.Frame {
	f := console.Frame{
		Title: title, Section: section, Here: c.Request.URL.RequestURI(),
		Theme: theme(c), Version: s.Version, Provisioning: s.ProvisioningAvailable, Monitoring: s.Monitoring != nil,
	}
	if p := exchangeOf(c).principal; p.UserID != "" {
		f.User = &console.User{Name: p.Name, Role: p.Role, Pending: p.Pending, Session: p.SessionID != ""}
	}
	f.Notice = takeNotice(c)
	return f
}

// takeNotice returns what the page before left to be said, once.
func takeNotice(c *gin.Context) console.Notice {
	notice, err := c.Cookie(noticeCookie)
	if err != nil {
		return ""
	}
	http.SetCookie(c.Writer, &http.Cookie{Name: noticeCookie, Path: "/", MaxAge: -1})
	return console.Notice(notice)
}

// theme is what the person chose: "light", "dark", or "" to follow the system.
func theme(c *gin.Context) string {
	if chosen, err := c.Cookie("tenantry_theme"); err == nil && (chosen == "light" || chosen == "dark") {
		return chosen
	}
	return ""
}

// noticeCookie carries the key of what to say on the next page.
const noticeCookie = "tenantry_notice"

// redirect sends the browser to a page of this console by GET.
func redirect(c *gin.Context, path string) error {
	if isFragment(c) {
		c.Header("HX-Redirect", path)
		c.Status(http.StatusNoContent)
		c.Writer.WriteHeaderNow()
		return nil
	}
	c.Header("Location", path)
	c.Status(http.StatusSeeOther)
	c.Writer.WriteHeaderNow()
	return nil
}

// redirectWith is redirect, and has the next page say something.
func redirectWith(c *gin.Context, path string, notice console.Notice) error {
	http.SetCookie(c.Writer, &http.Cookie{
		Name: noticeCookie, Value: string(notice), Path: "/", MaxAge: 60, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return redirect(c, path)
}

// localPath returns a path of this console, and the list of tenants for
// anything else: a link must not lead elsewhere.
func localPath(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/platform/") && !strings.HasPrefix(u.Path, MonitoringPath) ||
		strings.ContainsAny(path, "\\\r\n\t") || strings.HasPrefix(path, "//") || strings.Contains(u.Path, "..") ||
		strings.HasPrefix(u.Path, sessionPath) {
		return homePath
	}
	return u.RequestURI()
}

// homePath is where the console begins.
const homePath = "/platform/tenants"

// form reads a form's body, or fails with CodeInvalidRequest.
func form(c *gin.Context) (url.Values, error) {
	err, _ := c.Request.Context().Value(formFault{}).(error) // net/http forgets it
	if err == nil {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxForm)
		err = c.Request.ParseForm()
	}
	if beyond, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(beyond)
	}
	if err != nil {
		return nil, tenancy.Errorf(tenancy.CodeInvalidRequest, "The form cannot be read.")
	}
	return c.Request.PostForm, nil
}

// formFault is the key of what formMethod found wrong with a form.
type formFault struct{}

// formPage is the page a request belongs to: itself, or the one whose form it
// sends.
func formPage(c *gin.Context) string {
	path := c.Request.URL.Path
	if c.Request.Method == http.MethodGet || c.Request.Method == http.MethodHead {
		return localPath(c.Request.URL.RequestURI())
	}
	for _, action := range []string{"/retry", "/cancel", "/readmission", "/invitation", "/password", "/second-factor", "/confirmation"} {
		path = strings.TrimSuffix(path, action)
	}
	return localPath(path)
}

// writePageError answers with err as a page.
func (s *server) writePageError(c *gin.Context, err error) {
	who := exchangeOf(c).principal
	switch {
	case tenancy.CodeOf(err) == tenancy.CodeUnauthenticated && who.UserID == "":
		s.askToSignIn(c)
		return
	case errors.Is(err, errSignInAgain):
		s.renderSignIn(c, http.StatusForbidden, signInForm{email: who.Name, fresh: true, next: formPage(c), kept: keptForm(c)}, nil)
		return
	case errors.Is(err, errSecondFactorPending):
		_ = redirect(c, secondFactorPath+"?next="+url.QueryEscape(formPage(c)))
		return
	}
	p := s.problemOf(c, err)
	s.setErrorHeaders(c, p)
	page := console.ErrorPage{Frame: s.frame(c, "", p.Title), Problem: console.Problem{
		Status: p.Status, Code: p.Code, Title: p.Title, Detail: p.Detail, RequestID: p.RequestID, JobID: p.JobID,
		Help: console.HelpFor(p.Code),
	}}
	if err := s.render(c, p.Status, page, "problem"); err != nil {
		panic(err) // it has been rendered by a test
	}
}

// answerError answers with err as a page or as a problem, whatever is wanted.
func (s *server) answerError(c *gin.Context, err error) {
	if exchangeOf(c).visit != nil {
		s.answerVisitor(c, err)
		return
	}
	if wantsPage(c) {
		s.writePageError(c, err)
		return
	}
	s.writeError(c, err)
}

// askToSignIn leads a stranger to the sign-in and back. What they had typed into
// a form comes back to them afterwards.
func (s *server) askToSignIn(c *gin.Context) {
	next := c.Request.URL.RequestURI()
	switch {
	case isFragment(c) && c.FullPath() == slugsPath:
		// The page around holds a form half filled in: it is not reloaded.
		_ = s.render(c, http.StatusOK, console.SlugPage{Frame: s.frame(c, "Tenants", "New tenant"), Preview: console.SlugPreview{
			Slug: c.Query("slug"), Fault: "Your session has ended. Go on: you are asked to sign in, and what you typed is kept.",
		}}, "slug-preview")
	case isFragment(c):
		c.Header("HX-Refresh", "true")
		c.Status(http.StatusUnauthorized)
		c.Writer.WriteHeaderNow()
	case c.Request.Method == http.MethodGet || c.Request.Method == http.MethodHead:
		_ = redirect(c, sessionPath+"?next="+url.QueryEscape(next))
	default:
		s.renderSignIn(c, http.StatusUnauthorized, signInForm{next: formPage(c), kept: keptForm(c)}, nil)
	}
}

// formMethod lets a form, which can only POST, say another method in _method.
// It runs before routing.
func formMethod(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := r.ParseForm(); err != nil {
				r = r.WithContext(context.WithValue(r.Context(), formFault{}, err))
			} else if m := r.PostForm.Get("_method"); m == http.MethodPatch || m == http.MethodDelete {
				r.Method = m
			}
		}
		next.ServeHTTP(w, r)
	})
}

// pageFaults turns an error into what a form shows above its fields; other
// errors come back to be answered as a page of their own.
func pageFaults(err error) (*console.Faults, error) {
	if errors.Is(err, errSignInAgain) {
		return nil, err // for which there is a page
	}
	e := tenancy.AsError(err)
	switch e.Code {
	case tenancy.CodeInternal, tenancy.CodeUnauthenticated, tenancy.CodeForbidden, tenancy.CodeTimeout, tenancy.CodeDependencyUnavailable:
		if len(e.Fields) == 0 {
			return nil, err
		}
	}
	f := faultsOf(e)
	f.Help = console.HelpFor(e.Code)
	return f, nil
}

// faultsOf is an error as a form shows it.
func faultsOf(e *tenancy.Error) *console.Faults {
	f := &console.Faults{Code: e.Code, Message: e.Message, JobID: e.JobID, Fields: make(map[string]string)}
	for _, field := range e.Fields {
		name := strings.TrimPrefix(field.Pointer, "/")
		f.Order = append(f.Order, console.Fault{Field: name, Detail: field.Detail})
		f.Fields[name] = field.Detail
	}
	return f
}

func sortedKeys(values url.Values) []string { return slices.Sorted(maps.Keys(values)) }
