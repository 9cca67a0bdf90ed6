package http

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// What a page shows beside its main thing.
const (
	failedShown = 5
	sideRows    = 10
)

func tenantFilter(q *query) tenancy.TenantFilter {
	return tenancy.TenantFilter{
		Query:      q.text("q"),
		Status:     tenancy.TenantStatus(q.oneOf("status", func(v string) bool { return tenancy.TenantStatus(v).Valid() })),
		ServerName: q.text("server"),
		Page:       q.page(),
	}
}

// tenantsPage serves the page of GET /platform/tenants.
func (s *server) tenantsPage(c *gin.Context) error {
	q := query{c: c}
	page := console.TenantsPage{Frame: s.frame(c, "Tenants", "Tenants"), Filter: tenantFilter(&q)}
	page.Here = withoutJob(page.Here)
	if err := q.Err(); err != nil {
		page.Fault = tenancy.AsError(err).Message
		return s.render(c, http.StatusUnprocessableEntity, page, "list")
	}
	ctx := c.Request.Context()
	tenants, next, err := s.Tenants.ListTenants(ctx, page.Filter)
	if err != nil {
		return err
	}
	page.Next = next
	for _, t := range tenants {
		page.Tenants = append(page.Tenants, console.TenantRow{Tenant: t})
		page.Live = page.Live || t.Status == tenancy.TenantProvisioning
	}
	servers, err := s.Servers.ListServers(ctx)
	if err != nil {
		return err
	}
	for _, l := range servers {
		page.Servers = append(page.Servers, l.Name)
	}
	if page.Filter.Page.Cursor == "" && page.Filter.Status == "" && page.Filter.ServerName == "" {
		if page.Failed, err = s.failedProvisions(c, page.Filter.Query); err != nil {
			return err
		}
	}
	return s.render(c, http.StatusOK, page, "list")
}

// failedProvisions are the latest jobs that failed of late and whose slug has
// neither a tenant nor a later job: somebody has to look at them.
func (s *server) failedProvisions(c *gin.Context, narrow string) ([]tenancy.Job, error) {
	jobs, _, err := s.Jobs.ListJobs(c.Request.Context(), tenancy.JobFilter{
		Status: tenancy.JobFailed, Kind: tenancy.KindProvision, Page: tenancy.Page{Limit: 4 * failedShown},
	})
	if err != nil {
		return nil, err
	}
	var failed []tenancy.Job
	for _, j := range jobs {
		if len(failed) == failedShown || s.Now().Sub(j.CreatedAt) > 24*time.Hour {
			break
		}
		seen := slices.ContainsFunc(failed, func(f tenancy.Job) bool { return f.Slug == j.Slug })
		if seen || j.DryRun || !strings.Contains(string(j.Slug), strings.ToLower(narrow)) {
			continue
		}
		if _, err := s.Tenants.Tenant(c.Request.Context(), j.Slug); tenancy.CodeOf(err) == tenancy.CodeNotFound {
			failed = append(failed, j)
		} else if err != nil {
			return nil, err
		}
	}
	return failed, nil
}

// withoutJob is a page's address without the drawer's job, for its own refresh.
func withoutJob(here string) string {
	u, err := url.Parse(here)
	if err != nil {
		return here
	}
	q := u.Query()
	q.Del("job")
	u.RawQuery = q.Encode()
	return u.RequestURI()
}

// tenantsCSV serves GET /platform/tenants.csv: all that the filter selects.
func (s *server) tenantsCSV(c *gin.Context) error {
	q := query{c: c}
	filter := tenantFilter(&q)
	if err := q.Err(); err != nil {
		return err
	}
	filter.Page = tenancy.Page{Limit: tenancy.MaxPage}
	return writeCSV(c, "tenants.csv",
		[]string{"slug", "displayName", "status", "dbServer", "dbName", "dbSecretRef", "schemaVersion", "createdAt", "tenantId"},
		func(cursor string) (rows [][]string, next string, err error) {
			filter.Page.Cursor = cursor
			tenants, next, err := s.Tenants.ListTenants(c.Request.Context(), filter)
			for _, t := range tenants {
				rows = append(rows, []string{
					string(t.Slug), t.DisplayName, string(t.Status), t.ServerName, t.DatabaseName, t.SecretRef,
					t.SchemaVersion, t.CreatedAt.UTC().Format(time.RFC3339), string(t.ID),
				})
			}
			return rows, next, err
		})
}

// writeCSV answers with all pages of a list. A spreadsheet takes a cell that
// begins like a formula for one, so such cells begin with an apostrophe.
func writeCSV(c *gin.Context, name string, header []string, page func(cursor string) (rows [][]string, next string, err error)) error {
	rows, next, err := page("")
	if err != nil {
		return err
	}
	c.Header("Content-Type", "text/csv; charset=utf-8")
	c.Header("Content-Disposition", `attachment; filename="`+name+`"`)
	w := csv.NewWriter(c.Writer)
	if err := w.Write(header); err != nil {
		return nil //nolint:nilerr // the browser went away
	}
	for {
		for _, row := range rows {
			for i, cell := range row {
				if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
					row[i] = "'" + cell
				}
			}
			if err := w.Write(row); err != nil {
				return nil //nolint:nilerr // the browser went away
			}
		}
		w.Flush()
		if next == "" || w.Error() != nil {
			return nil //nolint:nilerr // the browser went away
		}
		if rows, next, err = page(next); err != nil {
			panic(http.ErrAbortHandler) // an incomplete file must not look whole
		}
	}
}

// tenantPage serves the page of GET /platform/tenants/{slug}.
func (s *server) tenantPage(c *gin.Context) error {
	return s.renderTenant(c, http.StatusOK, console.TenantForms{}, "", nil)
}

func (s *server) renderTenant(c *gin.Context, status int, typed console.TenantForms, open string, faults *console.Faults) error {
	slug, err := slugOf(c)
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	t, err := s.Tenants.Tenant(ctx, slug)
	if err != nil {
		return err
	}
	page := console.TenantPage{Frame: s.frame(c, "Tenants", string(slug)), Tenant: t, Form: typed, Open: open, Faults: faults, SignInURL: s.tenantURL(slug)}
	if page.Support() {
		inv, err := s.Tenants.InvitationState(ctx, slug)
		if err != nil && tenancy.CodeOf(err) != tenancy.CodeNotFound {
			return err
		}
		if err == nil {
			page.Invitation = &inv
		}
	}
	if page.Jobs, _, err = s.Jobs.ListJobs(ctx, tenancy.JobFilter{Slug: string(slug), Page: tenancy.Page{Limit: sideRows}}); err != nil {
		return err
	}
	if page.Audit, _, err = s.Audit.ListAudit(ctx, tenancy.AuditFilter{Slug: string(slug), Page: tenancy.Page{Limit: sideRows}}); err != nil {
		return err
	}
	return s.render(c, status, page, "")
}

// tenantFaults shows the tenant with what was wrong with a form of its page, or
// returns the error.
func (s *server) tenantFaults(c *gin.Context, typed console.TenantForms, open string, err error) error {
	faults, err := pageFaults(err)
	if err != nil {
		return err
	}
	return s.renderTenant(c, outcomes[faults.Code].status, typed, open, faults)
}

func tenantPath(c *gin.Context) string { return homePath + "/" + url.PathEscape(c.Param("slug")) }

func (s *server) changeTenantFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	typed := console.TenantForms{Status: values.Get("status"), Reason: values.Get("reason")}
	if _, err := s.setStatus(c, changeTenantRequest{Status: tenancy.TenantStatus(typed.Status), Reason: typed.Reason}); err != nil {
		return s.tenantFaults(c, typed, "status", err)
	}
	return redirectWith(c, tenantPath(c), console.NoticeStatusChanged)
}

func (s *server) offboardTenantFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	typed := console.TenantForms{
		Confirm: values.Get("confirm"), RetentionDays: values.Get("retentionDays"), Now: values.Get("now") != "",
		NoBackup: values.Get("noBackup") != "", Adopt: values.Get("adopt") != "",
	}
	open, req := "offboard", offboardRequest{Now: typed.Now}
	if values.Get("purge") != "" {
		backup := !typed.NoBackup
		open, req = "purge", offboardRequest{Purge: true, Confirm: typed.Confirm, Backup: &backup, Adopt: typed.Adopt}
	} else if typed.RetentionDays != "" {
		days, err := strconv.Atoi(typed.RetentionDays)
		if err != nil {
			days = 0 // refused below, like any other that does not fit
		}
		req.RetentionDays = &days
	}
	job, err := s.offboard(c, req)
	if err != nil {
		return s.tenantFaults(c, typed, open, err)
	}
	return redirect(c, homePath+"?job="+job.ID.String())
}

func (s *server) readmitTenantFromPage(c *gin.Context) error {
	job, err := s.readmit(c)
	if err != nil {
		return s.tenantFaults(c, console.TenantForms{}, "", err)
	}
	return redirect(c, tenantPath(c)+"?job="+job.ID.String())
}

func (s *server) sendInvitationFromPage(c *gin.Context) error {
	slug, err := slugOf(c)
	if err != nil {
		return err
	}
	if _, err := s.Tenants.RequestInvitation(c.Request.Context(), slug, actor(c)); err != nil {
		return s.tenantFaults(c, console.TenantForms{}, "", err)
	}
	return redirectWith(c, tenantPath(c), console.NoticeInvitationQueued)
}
