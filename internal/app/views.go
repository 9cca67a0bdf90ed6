package app

import (
	"strings"

	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/http"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// RunbookURL is the page of an error code; without PUBLIC_URL, relative to the
// api's address.
func RunbookURL(cfg config.Config, code tenancy.Code) string { return docsURL(cfg) + string(code) }

func docsURL(cfg config.Config) string {
	return strings.TrimSuffix(cfg.PublicURL, "/") + "/docs/errors/"
}

// JobView is the API's JSON of a job.
func JobView(j tenancy.Job, cfg config.Config) any { return http.ShowJob(j, docsURL(cfg)) }

// TenantView is the API's JSON of a tenant.
func TenantView(t tenancy.Tenant) any { return http.ShowTenant(t) }

// ServerView is the API's JSON of a server.
func ServerView(l tenancy.ServerLoad) any { return http.ShowServer(l) }
