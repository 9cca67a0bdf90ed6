package http

import (
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// The steps of the wizard.
const (
	stepDetails   = "details"
	stepPlacement = "placement"
	stepCheck     = "check"
)

// wizardPage serves GET /platform/tenants/new.
func (s *server) wizardPage(c *gin.Context) error {
	return s.renderWizard(c, http.StatusOK, stepDetails, console.WizardForm{}, nil)
}

// wizardFromPage serves POST /platform/tenants/new: it checks what was typed so
// far and shows the step that is asked for, or the one whose answers are wrong.
// Nothing is recorded before the last step is sent to POST /platform/tenants.
func (s *server) wizardFromPage(c *gin.Context) error {
	if err := s.requireProvisioning(); err != nil {
		return err
	}
	values, err := form(c)
	if err != nil {
		return err
	}
	typed := wizardForm(values)
	step := values.Get("step")
	if step == stepPlacement || step == stepCheck {
		if _, err := createRequest(typed).newJob(c, s.Reserved); err != nil {
			return s.wizardFaults(c, typed, err)
		}
		preview, err := s.preview(c, typed.Slug)
		if err != nil {
			return err
		}
		if preview.Fault != "" {
			return s.wizardFaults(c, typed, &tenancy.Error{
				Code: preview.Code, Message: preview.Fault, JobID: preview.JobID,
				Fields: []tenancy.FieldError{{Pointer: "/slug", Code: preview.Code, Detail: preview.Fault}},
			})
		}
		return s.renderWizard(c, http.StatusOK, step, typed, nil)
	}
	return s.renderWizard(c, http.StatusOK, stepDetails, typed, nil)
}

func wizardForm(values url.Values) console.WizardForm {
	return console.WizardForm{
		Slug: values.Get("slug"), DisplayName: values.Get("displayName"), AdminEmail: values.Get("adminEmail"),
		DBServer: values.Get("dbServer"), DryRun: values.Get("dryRun") != "",
	}
}

func createRequest(f console.WizardForm) createTenantRequest {
	return createTenantRequest{Slug: f.Slug, DisplayName: f.DisplayName, AdminEmail: f.AdminEmail, DBServer: f.DBServer, DryRun: f.DryRun}
}

// createTenantFromPage serves the wizard's last step. The key the page was made
// with makes a second click the same request.
func (s *server) createTenantFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	typed := wizardForm(values)
	if key := values.Get("key"); key != "" {
		c.Request.Header.Set("Idempotency-Key", key)
	}
	job, err := s.submitTenant(c, createRequest(typed))
	if err != nil {
		return s.wizardFaults(c, typed, err)
	}
	return redirect(c, homePath+"?job="+job.ID.String())
}

// wizardFaults shows the step whose answers are wrong, with all that was typed.
func (s *server) wizardFaults(c *gin.Context, typed console.WizardForm, err error) error {
	faults, err := pageFaults(err)
	if err != nil {
		return err
	}
	step := stepDetails
	switch {
	case faults.Code == tenancy.CodeDBServerNotFound:
		step, typed.DBServer = stepPlacement, ""
	case len(faults.Order) == 1 && faults.Order[0].Field == "Idempotency-Key":
		step = stepCheck // with a key of its own
	}
	return s.renderWizard(c, outcomes[faults.Code].status, step, typed, faults)
}

func (s *server) renderWizard(c *gin.Context, status int, step string, typed console.WizardForm, faults *console.Faults) error {
	page := console.WizardPage{
		Frame: s.frame(c, "Tenants", "New tenant"), Step: step, Form: typed, Faults: faults, Key: uuid.NewString(),
	}
	var err error
	if typed.Slug != "" && faults.Of("slug") == "" {
		if page.Preview, err = s.preview(c, typed.Slug); err != nil {
			return err
		}
	}
	if step != stepDetails {
		loads, err := s.Servers.ListServers(c.Request.Context())
		if err != nil {
			return err
		}
		for _, l := range loads {
			page.Servers = append(page.Servers, console.ServerRow{ServerLoad: l})
		}
		if auto, err := s.Choose(loads, ""); err == nil {
			page.Auto = auto.Name
		}
	}
	return s.render(c, status, page, "")
}
