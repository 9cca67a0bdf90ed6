package http

import (
	"bytes"
	"encoding/json"
	"io"
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
// Whatever is not a read is audited before it happens, with the tasks it names.
func (s *server) monitoring(c *gin.Context) error {
	p := exchangeOf(c).principal
	handler := s.MonitoringReadOnly
	if p.Role == tenancy.RoleAdmin {
		handler = s.Monitoring
	}
	if handler == nil {
		return tenancy.Errorf(tenancy.CodeNotFound, "Asynqmon is not available here.")
	}
	asked := c.Request
	switch asked.Method {
	case http.MethodGet:
	case http.MethodHead:
		asked = asked.Clone(asked.Context())
		asked.Method = http.MethodGet // Asynqmon knows no HEAD
	default:
		if p.Role != tenancy.RoleAdmin {
			return s.refuse(c, tenancy.Errorf(tenancy.CodeForbidden, "Your role may look at the queues, not change them."))
		}
		details := map[string]any{"method": c.Request.Method, "path": c.Request.URL.Path, "requestId": exchangeOf(c).requestID}
		if err := readBatch(c, details); err != nil {
			return err
		}
		if err := s.Audit.AppendAudit(c.Request.Context(), tenancy.AuditEvent{
			Type: tenancy.EventQueueOperation, Actor: p.Actor, Details: details,
		}); err != nil {
			return err
		}
	}
	c.Header("Content-Security-Policy", monitoringPolicy)
	c.Header("X-Frame-Options", "DENY")
	handler.ServeHTTP(c.Writer, asked)
	return nil
}

// readBatch notes the tasks that the body of a batch names, and puts the body back.
func readBatch(c *gin.Context, details map[string]any) error {
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxBody))
	if err != nil {
		return decodeError(err)
	}
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
	var batch struct {
		TaskIDs []string `json:"task_ids"`
	}
	if json.Unmarshal(body, &batch) == nil && len(batch.TaskIDs) > 0 {
		details["taskIds"] = batch.TaskIDs
	}
	return nil
}
