package http

import "github.com/tenantry/tenantry/internal/tenancy"

// The API's JSON of a job, a tenant and a server, for tenantctl, whose output is
// the same.

// ShowJob returns a job's JSON form. docsURL is Config.DocsURL.
func ShowJob(j tenancy.Job, docsURL string) any {
	return (&server{Config: Config{DocsURL: docsURL}}).showJob(j)
}

// ShowTenant returns a tenant's JSON form.
func ShowTenant(t tenancy.Tenant) any { return showTenant(t) }

// ShowServer returns a server's JSON form.
func ShowServer(l tenancy.ServerLoad) any { return showServer(l) }
