package http

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// requestTimeout bounds a handler, below the server's WriteTimeout, so that a
// hanging dependency is answered with CodeTimeout and not with silence.
const requestTimeout = 20 * time.Second

// Who may use a route.
var (
	open     []tenancy.Role // no credential needed
	everyone = []tenancy.Role{tenancy.RoleAdmin, tenancy.RoleSupport, tenancy.RoleReadOnly}
	support  = []tenancy.Role{tenancy.RoleAdmin, tenancy.RoleSupport}
	admin    = []tenancy.Role{tenancy.RoleAdmin}
)

// What a route asks of its caller beside a role.
const (
	// pending: it is open to a session whose second factor is not shown yet.
	pending = 1 << iota
	// session: it is for signed-in people, not for API tokens.
	session
	// fresh: a person must have signed in just now.
	fresh
)

// route is one line of the table. It is for callers with one of the roles: api
// answers with JSON and page, if there is one, with a page to those who want
// one. The error of either is answered in kind.
type route struct {
	method, path string
	roles        []tenancy.Role
	api, page    func(*gin.Context) error
	needs        int
}

// routes is the whole API, and the pages that show the same things.
func (s *server) routes() []route {
	return []route{
		{"POST", "/platform/session", open, s.signIn, s.signInFromPage, 0},
		{"GET", "/platform/session", everyone, s.getSession, nil, pending},
		{"DELETE", "/platform/session", everyone, s.signOut, s.signOutFromPage, pending},
		{"POST", "/platform/session/second-factor", everyone, s.showSecondFactor, s.showSecondFactorFromPage, pending | session},

		{"GET", "/platform/account", everyone, s.getAccount, s.accountPage, session},
		{"POST", "/platform/account/password", everyone, s.changePassword, s.changePasswordFromPage, session},
		{"POST", "/platform/account/second-factor", everyone, s.beginSecondFactor, s.beginSecondFactorFromPage, pending | session | fresh},
		{"POST", "/platform/account/second-factor/confirmation", everyone, s.confirmSecondFactor, s.confirmSecondFactorFromPage, pending | session | fresh},
		{"DELETE", "/platform/account/second-factor", everyone, s.removeSecondFactor, s.removeSecondFactorFromPage, session},
		{"DELETE", "/platform/account/sessions/:sessionId", everyone, s.endAccountSession, s.endAccountSessionFromPage, session},

		{"POST", "/platform/tenants", admin, s.createTenant, s.createTenantFromPage, 0},
		{"GET", "/platform/tenants", everyone, s.listTenants, s.tenantsPage, 0},
		{"GET", "/platform/tenants/:slug", everyone, s.getTenant, s.tenantPage, 0},
		{"PATCH", "/platform/tenants/:slug", admin, s.changeTenant, s.changeTenantFromPage, 0},
		{"DELETE", "/platform/tenants/:slug", admin, s.offboardTenant, s.offboardTenantFromPage, fresh},
		{"POST", "/platform/tenants/:slug/readmission", admin, s.readmitTenant, s.readmitTenantFromPage, 0},
		{"POST", "/platform/tenants/:slug/invitation", support, s.sendInvitation, s.sendInvitationFromPage, 0},
		{"GET", "/platform/tenants/:slug/invitation", support, s.getInvitation, nil, 0},
		{"GET", slugsPath, everyone, s.getSlug, s.slugPreview, 0},

		{"POST", "/platform/tenant-batches", admin, s.createBatch, s.createBatchFromPage, 0},
		{"GET", "/platform/tenant-batches", everyone, s.listBatches, s.batchesPage, 0},
		{"GET", "/platform/tenant-batches/:batchId", everyone, s.getBatch, s.batchPage, 0},
		{"POST", "/platform/tenant-batches/:batchId/retry", admin, s.retryBatch, s.retryBatchFromPage, 0},

		{"GET", "/platform/jobs", everyone, s.listJobs, s.jobsPage, 0},
		{"GET", jobRoute, everyone, s.getJob, s.jobPage, 0},
		{"POST", "/platform/jobs/:jobId/retry", admin, s.retryJob, s.retryJobFromPage, 0},
		{"POST", "/platform/jobs/:jobId/cancel", admin, s.cancelJob, s.cancelJobFromPage, 0},
		{"POST", "/platform/job-retries", admin, s.retryJobs, s.retryJobsFromPage, 0},

		{"GET", "/platform/db-servers", everyone, s.listServers, s.serversPage, 0},
		{"POST", "/platform/db-servers", admin, s.addServer, s.addServerFromPage, 0},
		{"GET", "/platform/db-servers/:name", everyone, s.getServer, s.serverPage, 0},
		{"PATCH", "/platform/db-servers/:name", admin, s.changeServer, s.changeServerFromPage, 0},

		{"GET", "/platform/audit", everyone, s.listAudit, s.auditPage, 0},

		// Everyone has tokens of their own; an admin sees and revokes all.
		{"GET", "/platform/api-tokens", everyone, s.listTokens, s.tokensPage, 0},
		{"POST", "/platform/api-tokens", everyone, s.createToken, s.createTokenFromPage, fresh},
		{"DELETE", "/platform/api-tokens/:tokenId", everyone, s.revokeToken, s.revokeTokenFromPage, 0},

		{"GET", "/healthz", open, s.healthz, nil, 0},
		{"GET", "/readyz", open, s.readyz, nil, 0},
		{"GET", "/version", open, s.version, nil, 0},
		{"GET", "/openapi.yaml", open, s.openAPI, nil, 0},
		{"GET", "/docs/errors/:code", open, s.errorDoc, s.errorDocPage, 0},
	}
}

// pages are what only a browser asks for.
func (s *server) pages() []route {
	routes := []route{
		{"GET", "/", open, nil, s.homePage, 0},
		{"GET", "/platform", open, nil, s.homePage, 0},
		{"GET", sessionPath + "/oidc", open, nil, s.beginOIDC, 0},
		{"GET", OIDCCallbackPath, open, nil, s.finishOIDC, 0},
		{"GET", sessionPath + "/second-factor", everyone, nil, s.secondFactorPage, pending | session},
		{"GET", "/platform/tenants.csv", everyone, s.tenantsCSV, s.tenantsCSV, 0},
		{"GET", "/platform/tenant-batches/new", admin, nil, s.newBatchPage, 0},
		{"GET", "/platform/tenants/new", admin, nil, s.wizardPage, 0},
		{"POST", "/platform/tenants/new", admin, nil, s.wizardFromPage, 0},
		{"GET", "/platform/db-servers/new", admin, nil, s.newServerPage, 0},
		{"GET", "/platform/audit.csv", everyone, s.auditCSV, s.auditCSV, 0},
	}
	// Asynqmon is a page and its own API and no part of this one.
	for _, method := range []string{"GET", "POST", "DELETE"} {
		routes = append(routes, route{method, MonitoringPath + "/*path", everyone, s.monitoring, s.monitoring, 0})
	}
	return routes
}

func (s *server) serve(r route) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx, cancel := context.WithTimeout(c.Request.Context(), requestTimeout)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		handle := r.api
		page := r.page != nil && wantsPage(c)
		if page {
			handle = r.page
		}
		if r.method == http.MethodGet && r.path == sessionPath && wantsPage(c) {
			// To those who are not signed in this address is where they do it.
			r.roles, handle, page = open, s.signInPage, true
		}
		err := s.authorize(c, r)
		switch {
		case err != nil:
		case handle == nil:
			err = nothingHere()
		default:
			err = handle(c)
		}
		switch {
		case err == nil:
		case page:
			s.writePageError(c, err)
		default:
			s.writeError(c, err)
		}
	}
}
