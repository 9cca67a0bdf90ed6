package http

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

const slugsPath = "/platform/slugs"

type slugJSON struct {
	Slug      string `json:"slug"`
	Available bool   `json:"available"`
	// Code and Detail say why it is not.
	Code   *tenancy.Code  `json:"code"`
	Detail *string        `json:"detail"`
	JobID  *tenancy.JobID `json:"jobId"`
	// What follows from the slug, null if there can be no such slug.
	TenantURL   *string `json:"tenantUrl"`
	DBName      *string `json:"dbName"`
	DBSecretRef *string `json:"dbSecretRef"`
}

// getSlug serves GET /platform/slugs?slug=…: whether a slug is free, and what
// would follow from it.
func (s *server) getSlug(c *gin.Context) error {
	preview, err := s.preview(c, c.Query("slug"))
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, slugJSON{
		Slug: preview.Slug, Available: preview.Slug != "" && preview.Fault == "",
		Code: orNull(preview.Code), Detail: orNull(preview.Fault), JobID: orNull(preview.JobID),
		TenantURL: orNull(preview.TenantURL), DBName: orNull(preview.Database), DBSecretRef: orNull(preview.Secret),
	})
}

// slugPreview serves the same to the wizard, while one types.
func (s *server) slugPreview(c *gin.Context) error {
	if !isFragment(c) {
		return redirect(c, homePath+"/new")
	}
	preview, err := s.preview(c, c.Query("slug"))
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, console.SlugPage{Frame: s.frame(c, "Tenants", "New tenant"), Preview: preview}, "slug-preview")
}

func (s *server) preview(c *gin.Context, typed string) (console.SlugPreview, error) {
	preview := console.SlugPreview{Slug: strings.ToValidUTF8(typed, "\uFFFD")}
	if len(typed) > tenancy.MaxParameter {
		return preview, tenancy.Errorf(tenancy.CodeInvalidRequest, "The slug is far too long.")
	}
	slug, err := tenancy.ParseSlug(typed, s.Reserved)
	if err != nil {
		preview.Fault, preview.Code = tenancy.AsError(err).Message, tenancy.CodeInvalidSlug
		return preview, nil
	}
	preview.TenantURL, preview.Database, preview.Secret = s.tenantURL(slug), slug.DatabaseName(), slug.SecretName()
	t, err := s.Tenants.Tenant(c.Request.Context(), slug)
	switch {
	case tenancy.CodeOf(err) == tenancy.CodeNotFound:
	case err != nil:
		return preview, err
	case t.Status == tenancy.TenantProvisioning:
		preview.Fault, preview.Code, preview.JobID = "A job for this slug is in progress.", tenancy.CodeJobInProgress, t.JobID
	default:
		preview.Fault, preview.Code = "There is a tenant with this slug already.", tenancy.CodeAlreadyProvisioned
	}
	return preview, nil
}

// tenantURL is where the tenant's people reach it, "" if that is not configured.
func (s *server) tenantURL(slug tenancy.Slug) string {
	return strings.ReplaceAll(s.TenantURL, "{slug}", string(slug))
}
