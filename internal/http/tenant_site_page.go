package http

import (
	"bytes"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// tenantFrame is what is around a tenant's own page.
func tenantFrame(c *gin.Context, title string) console.TenantFrame {
	v := visitOf(c)
	f := console.TenantFrame{Title: title, Tenant: v.tenant.DisplayName, Status: v.tenant.Status, Notice: takeNotice(c)}
	if v.user.ID != "" {
		f.User = &v.user
	}
	return f
}

func renderTenant(c *gin.Context, status int, page console.VisitorPage) error {
	var body bytes.Buffer
	if err := console.RenderTenant(&body, page); err != nil {
		return tenancy.Wrap(tenancy.CodeInternal, err, "cannot write the page")
	}
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Add("Vary", "Accept, Cookie")
	c.Data(status, "text/html; charset=utf-8", body.Bytes())
	return nil
}

// visitorFaults returns what a form shows of an error, with the answer's headers
// set, or the error if it is nothing to mend in a form.
func (s *server) visitorFaults(c *gin.Context, err error) (status int, shown *console.Faults, _ error) {
	switch tenancy.CodeOf(err) {
	case tenancy.CodeInvalidRequest, tenancy.CodeRateLimited:
	default:
		return 0, nil, err
	}
	faults, other := pageFaults(err)
	if other != nil {
		return 0, nil, other
	}
	faults.Help = console.Help{} // the runbook is not for tenants' people
	p := s.problemOf(c, err)
	s.setErrorHeaders(c, p)
	return p.Status, faults, nil
}

// visitorChallenge says how tenants' people sign in: by a form, into a cookie.
const visitorChallenge = `Cookie form-action="` + tenantSignIn + `"`

// answerVisitor answers with err as a page or a problem. It is writeError and
// writePageError for tenants' people, in words that are for them.
func (s *server) answerVisitor(c *gin.Context, err error) {
	v := visitOf(c)
	if !wantsPage(c) {
		s.writeError(c, err)
		return
	}
	if tenancy.CodeOf(err) == tenancy.CodeUnauthenticated {
		_ = redirect(c, tenantSignIn)
		return
	}
	p := s.problemOf(c, err)
	s.setErrorHeaders(c, p)
	title, text := visitorWords(p)
	frame := tenantFrame(c, title)
	err = renderTenant(c, p.Status, console.TenantErrorPage{
		TenantFrame: frame, Text: text, RequestID: p.RequestID,
		Home: v.tenant.ID != "" && v.tenant.Status.CheckRead() == nil,
	})
	if err != nil {
		panic(err) // it has been rendered by a test
	}
}

// visitorWords is a problem's title and text for a tenant's people, who can ask
// nobody's runbook.
func visitorWords(p problem) (title, text string) {
	switch p.Code {
	case tenancy.CodeTenantSuspended:
		return "Closed for now", "An operator has suspended this site: nobody can sign in or read until it is opened again. Nothing was deleted. Your administrator can ask why."
	case tenancy.CodeTenantReadOnly:
		return "Read-only for now", "Nothing can be changed here at this moment, passwords included. You can sign in and read. Try this again later; a link that you were mailed stays as it is."
	case tenancy.CodeTenantOffboarding:
		return "Being closed", "This site is being closed. You can sign in and read, and nothing can be changed any more, passwords included."
	case tenancy.CodeNotFound:
		return "Nothing here", "There is nothing at this address. Look whether it is typed as it should be."
	case tenancy.CodeDependencyUnavailable, tenancy.CodeTimeout:
		return "Not available now", "This site cannot be used at this moment. Nothing is lost. Try again in a minute; if it lasts, tell your administrator."
	case tenancy.CodeRateLimited:
		return "Too many attempts", p.Detail
	case tenancy.CodeForbidden:
		return "Refused", "This came from another site, so nothing was done. Open the page here and try again."
	case tenancy.CodeInvalidRequest, tenancy.CodeConflict:
		return "That did not work", p.Detail
	}
	return "Something went wrong", "This is our fault, and it is in our log under the request's id. Try again; if it lasts, tell your administrator the id."
}

// deadLink answers to a link that does not work. Why, is not told: whoever has an
// old mail in their hands learns nothing more.
func (s *server) deadLink(c *gin.Context) error {
	if !s.limits.failures.allow(network(c)) {
		return tenancy.Errorf(tenancy.CodeRateLimited, "Too many failed attempts from this address. Try again in a moment.")
	}
	err := tenancy.Errorf(tenancy.CodeNotFound, "This link does not work, or no longer. Ask for a new one.")
	if !wantsPage(c) {
		return err
	}
	return renderTenant(c, http.StatusNotFound, console.TenantDeadLinkPage{
		TenantFrame: tenantFrame(c, "This link does not work"), Reset: c.FullPath() == tenantReset,
	})
}
