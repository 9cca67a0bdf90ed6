package http

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// MonitoringPath is where Asynqmon is.
const MonitoringPath = "/monitoring"

// monitoringPolicy lets Asynqmon's page run, which needs inline script and style.
// It holds on Asynqmon's path alone.
const monitoringPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; " +
	"font-src 'self' data:; img-src 'self' data:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"

// monitoring serves Asynqmon: read-write to admins, read-only to the others.
// Whatever is not a read is audited before it happens, under the task it names.
func (s *server) monitoring(c *gin.Context) error {
	p := exchangeOf(c).principal
	handler := s.MonitoringReadOnly
	if p.Role == tenancy.RoleAdmin {
		handler = s.Monitoring
	}
	if handler == nil {
		return tenancy.Errorf(tenancy.CodeNotFound, "Asynqmon is not available here.")
	}
	if c.Request.Method != http.MethodGet {
		if p.Role != tenancy.RoleAdmin {
			return s.refuse(c, tenancy.Errorf(tenancy.CodeForbidden, "Your role may look at the queues, not change them."))
		}
		if err := s.Audit.AppendAudit(c.Request.Context(), tenancy.AuditEvent{
			Type: tenancy.EventQueueOperation, Actor: p.Actor,
			Details: map[string]any{"method": c.Request.Method, "path": c.Request.URL.Path, "requestId": exchangeOf(c).requestID},
		}); err != nil {
			return err
		}
	}
	c.Header("Content-Security-Policy", monitoringPolicy)
	c.Header("X-Frame-Options", "DENY")
	handler.ServeHTTP(c.Writer, c.Request)
	return nil
}
