package http

import (
	"context"
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

// route is one line of the table: handle is called for callers with one of the
// roles, and its error is answered as a problem.
type route struct {
	method, path string
	roles        []tenancy.Role
	handle       func(*gin.Context) error
}

// routes is the whole API.
func (s *server) routes() []route {
	return []route{
		{"POST", "/platform/tenants", admin, s.createTenant},
		{"GET", "/platform/tenants", everyone, s.listTenants},
		{"GET", "/platform/tenants/:slug", everyone, s.getTenant},
		{"PATCH", "/platform/tenants/:slug", admin, s.changeTenant},
		{"DELETE", "/platform/tenants/:slug", admin, s.offboardTenant},
		{"POST", "/platform/tenants/:slug/readmission", admin, s.readmitTenant},
		{"POST", "/platform/tenants/:slug/invitation", support, s.sendInvitation},

		{"POST", "/platform/tenant-batches", admin, s.createBatch},
		{"GET", "/platform/tenant-batches", everyone, s.listBatches},
		{"GET", "/platform/tenant-batches/:batchId", everyone, s.getBatch},
		{"POST", "/platform/tenant-batches/:batchId/retry", admin, s.retryBatch},

		{"GET", "/platform/jobs", everyone, s.listJobs},
		{"GET", "/platform/jobs/:jobId", everyone, s.getJob},
		{"POST", "/platform/jobs/:jobId/retry", admin, s.retryJob},
		{"POST", "/platform/jobs/:jobId/cancel", admin, s.cancelJob},
		{"POST", "/platform/job-retries", admin, s.retryJobs},

		{"GET", "/platform/db-servers", everyone, s.listServers},
		{"POST", "/platform/db-servers", admin, s.addServer},
		{"GET", "/platform/db-servers/:name", everyone, s.getServer},
		{"PATCH", "/platform/db-servers/:name", admin, s.changeServer},

		{"GET", "/platform/audit", everyone, s.listAudit},

		// Everyone has tokens of their own; an admin sees and revokes all.
		{"GET", "/platform/api-tokens", everyone, s.listTokens},
		{"POST", "/platform/api-tokens", everyone, s.createToken},
		{"DELETE", "/platform/api-tokens/:tokenId", everyone, s.revokeToken},

		{"GET", "/healthz", open, s.healthz},
		{"GET", "/readyz", open, s.readyz},
		{"GET", "/version", open, s.version},
		{"GET", "/openapi.yaml", open, s.openAPI},
		{"GET", "/docs/errors/:code", open, s.errorPage},
	}
}

// monitoringRoutes lead to Asynqmon, which is a page and its own API and no part
// of this one.
func (s *server) monitoringRoutes() []route {
	var routes []route
	for _, method := range []string{"GET", "POST", "DELETE"} {
		routes = append(routes, route{method, MonitoringPath + "/*path", everyone, s.monitoring})
	}
	return routes
}

func (s *server) serve(r route) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx, cancel := context.WithTimeout(c.Request.Context(), requestTimeout)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		err := s.authorize(c, r.roles)
		if err == nil {
			err = r.handle(c)
		}
		if err != nil {
			s.writeError(c, err)
		}
	}
}
