package http

import (
	"context"
	"net/http"
	"regexp"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Audit is the append-only record of what happened.
type Audit interface {
	AppendAudit(ctx context.Context, e tenancy.AuditEvent) error
	ListAudit(ctx context.Context, f tenancy.AuditFilter) ([]tenancy.AuditEvent, string, error)
}

var eventTypePattern = regexp.MustCompile(`^[A-Z][A-Z_]{0,63}$`)

type auditJSON struct {
	AuditID        int64             `json:"auditId"`
	EventType      tenancy.EventType `json:"eventType"`
	TenantID       *tenancy.TenantID `json:"tenantId"`
	Slug           *string           `json:"slug"`
	PlatformUserID *tenancy.UserID   `json:"platformUserId"`
	Actor          string            `json:"actor"`
	JobID          *tenancy.JobID    `json:"jobId"`
	Details        map[string]any    `json:"details"`
	At             time.Time         `json:"at"`
}

func showAudit(e tenancy.AuditEvent) auditJSON {
	shown := auditJSON{
		AuditID: e.ID, EventType: e.Type, TenantID: orNull(e.TenantID), Slug: orNull(e.Slug),
		PlatformUserID: orNull(e.Actor.UserID), Actor: e.Actor.Name, JobID: orNull(e.JobID),
		Details: e.Details, At: e.At.UTC(),
	}
	if shown.Details == nil {
		shown.Details = map[string]any{}
	}
	return shown
}

func auditFilter(q *query) tenancy.AuditFilter {
	return tenancy.AuditFilter{
		Type:  tenancy.EventType(q.oneOf("eventType", eventTypePattern.MatchString)),
		Slug:  q.text("slug"),
		Actor: q.text("actor"),
		From:  q.time("from"),
		To:    q.time("to"),
		Page:  q.page(),
	}
}

// listAudit serves GET /platform/audit, newest first: what happened at from or
// later and before to.
func (s *server) listAudit(c *gin.Context) error {
	q := query{c: c}
	f := auditFilter(&q)
	if err := q.Err(); err != nil {
		return err
	}
	events, next, err := s.Audit.ListAudit(c.Request.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, newList(events, next, showAudit))
}
