package console

import (
	"io"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// VisitorPage is the view of one of a tenant's own pages.
type VisitorPage interface {
	Page
	visitorPage()
}

// RenderTenant writes a whole page of a tenant's.
func RenderTenant(w io.Writer, page VisitorPage) error {
	return RenderFragment(w, page, "tenant-layout")
}

// TenantFrame is what is around a tenant's own page. Nothing in it is the
// platform's.
type TenantFrame struct {
	Title string
	// Tenant is the tenant's display name, "" if there is no tenant to name.
	Tenant string
	Status tenancy.TenantStatus
	// User is nil if nobody is signed in.
	User   *tenancy.TenantUser
	Notice Notice
	// Faults is what is wrong with the page's form.
	Faults *Faults
}

func (TenantFrame) visitorPage() {}

// Writable reports whether the tenant may be changed.
func (f TenantFrame) Writable() bool { return f.Status.CheckWrite() == nil }

// TenantHomePage is where a tenant's people arrive.
type TenantHomePage struct{ TenantFrame }

func (TenantHomePage) template() string { return "tenant_home" }

// TenantSignInPage is where they sign in.
type TenantSignInPage struct {
	TenantFrame
	Email string
}

func (TenantSignInPage) template() string { return "tenant_sign_in" }

// TenantLinkPage is where a mailed link leads: to choosing a password.
type TenantLinkPage struct {
	TenantFrame
	// Action is where the form goes, without the token.
	Action, Token string
	Invited       tenancy.OpenInvitation
}

func (TenantLinkPage) template() string { return "tenant_link" }

// TenantDeadLinkPage is what every link leads to that does not work.
type TenantDeadLinkPage struct {
	TenantFrame
	// Reset says that the link was for a new password.
	Reset bool
}

func (TenantDeadLinkPage) template() string { return "tenant_dead_link" }

// TenantForgottenPage asks for a link to choose a new password with.
type TenantForgottenPage struct {
	TenantFrame
	Email string
	// Asked says that the request was taken.
	Asked bool
}

func (TenantForgottenPage) template() string { return "tenant_forgotten" }

// TenantPasswordPage changes a password.
type TenantPasswordPage struct{ TenantFrame }

func (TenantPasswordPage) template() string { return "tenant_password" }

// TenantErrorPage tells what went wrong with a request.
type TenantErrorPage struct {
	TenantFrame
	Text, RequestID string
	// Home says that there is a page to go on from.
	Home bool
}

func (TenantErrorPage) template() string { return "tenant_error" }
