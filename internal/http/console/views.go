package console

import (
	"html/template"
	"net/url"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// SignInPage is where people sign in.
type SignInPage struct {
	Frame
	Email, Next string
	// AskCode shows the field for the second factor.
	AskCode bool
	// Fresh asks somebody who is signed in once more.
	Fresh  bool
	Faults *Faults
	Kept   *KeptForm
	OIDC   bool
}

func (SignInPage) template() string { return "sign_in" }

// KeptForm is what somebody typed into a form that their sign-in interrupted.
type KeptForm struct {
	Action string
	Fields []KeptField
}

// KeptField is one value of it.
type KeptField struct{ Name, Value string }

// Hidden reports whether the form itself did not show the field.
func (f KeptField) Hidden() bool { return f.Name == "_method" || f.Name == "step" || f.Name == "key" }

// Encoded is the fields as a form would send them.
func (k KeptForm) Encoded() string {
	values := url.Values{}
	for _, f := range k.Fields {
		values.Add(f.Name, f.Value)
	}
	return values.Encode()
}

// ResumePage goes on with a kept form.
type ResumePage struct {
	Frame
	Kept KeptForm
}

func (ResumePage) template() string { return "resume" }

// SecondFactorPage asks for the second factor, or to set one up.
type SecondFactorPage struct {
	Frame
	// SetUp says that there is one to show.
	SetUp bool
	// Enrolment is one begun, nil before that.
	Enrolment *Enrolment
	// RecoveryCodes are shown once, when it counts.
	RecoveryCodes []string
	// Next is where the person was going.
	Next   string
	Faults *Faults
}

func (SecondFactorPage) template() string { return "second_factor" }

// Enrolment is a second factor to confirm.
type Enrolment struct {
	Secret string
	// QR is the address of a picture, a data: URL.
	QR template.URL
}

// AccountPage is what people see of themselves.
type AccountPage struct {
	Frame
	Account  tenancy.Account
	Sessions []tenancy.Session
	Current  tenancy.SessionID
	Faults   *Faults
	// Required says that the second factor may not go.
	Required bool
}

func (AccountPage) template() string { return "account" }

// ErrorPage tells what went wrong with a request.
type ErrorPage struct {
	Frame
	Problem Problem
}

func (ErrorPage) template() string { return "error" }

// Problem is an error as the API tells it, with what the runbook says.
type Problem struct {
	Status        int
	Code          tenancy.Code
	Title, Detail string
	RequestID     string
	JobID         tenancy.JobID
	Help          Help
}

// WizardPage is one step of the wizard.
type WizardPage struct {
	Frame
	// Step is details, placement or check.
	Step    string
	Form    WizardForm
	Preview SlugPreview
	Servers []ServerRow
	// Auto is where auto-placement would go now, "" if nowhere.
	Auto   string
	Faults *Faults
	// Key makes a second click the same request.
	Key string
}

func (WizardPage) template() string { return "wizard" }

// WizardForm is what was typed.
type WizardForm struct {
	Slug, DisplayName, AdminEmail, DBServer string
	DryRun                                  bool
}

// SlugPreview is what follows from a slug.
type SlugPreview struct {
	// Slug is "" as long as nothing is typed.
	Slug string
	// Fault is why it cannot be, "" if it can; Code is its code.
	Fault string
	Code  tenancy.Code
	JobID tenancy.JobID

	TenantURL, Database, Secret string
}

// SlugPage is SlugPreview alone, for the wizard while one types.
type SlugPage struct {
	Frame
	Preview SlugPreview
}

func (SlugPage) template() string { return "wizard" }

// ServerRow is a database server and its load.
type ServerRow struct {
	tenancy.ServerLoad
	Faults *Faults
}

// Status is active, full or inactive.
func (r ServerRow) Status() string {
	switch {
	case !r.IsActive:
		return "inactive"
	case r.Full():
		return "full"
	}
	return "active"
}

// Capacity is the cap, 0 without one.
func (r ServerRow) Capacity() int {
	if r.CapacityHint == nil {
		return 0
	}
	return *r.CapacityHint
}

// TenantsPage lists the tenants.
type TenantsPage struct {
	Frame
	Filter  tenancy.TenantFilter
	Tenants []TenantRow
	Servers []string
	Next    string
	// Live says that something on the page is still under way.
	Live bool
	// Failed are provision jobs that failed and whose slug is still free.
	Failed []tenancy.Job
	Fault  string
}

func (TenantsPage) template() string { return "tenants" }

// Filtered reports whether the list is narrowed down.
func (p TenantsPage) Filtered() bool {
	return p.Filter.Query != "" || p.Filter.Status != "" || p.Filter.ServerName != ""
}

// TenantRow is a tenant in a list.
type TenantRow struct{ tenancy.Tenant }

// TenantPage shows a tenant.
type TenantPage struct {
	Frame
	Tenant    tenancy.Tenant
	SignInURL string
	// Invitation is nil if it is not known or not for this reader.
	Invitation *tenancy.InvitationState
	Jobs       []tenancy.Job
	Audit      []tenancy.AuditEvent
	Faults     *Faults
	// Open names the form that was refused.
	Open string
	Form TenantForms
}

func (TenantPage) template() string { return "tenant" }

// TenantForms is what was typed into the forms of a tenant's page.
type TenantForms struct {
	Status, Reason, Confirm string
	RetentionDays           string
	Now, NoBackup, Adopt    bool
}

// Due reports whether a time has come.
func (p TenantPage) Due(at *time.Time) bool { return at != nil && time.Now().After(*at) }
