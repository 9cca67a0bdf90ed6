package http

import (
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestListAudit(t *testing.T) {
	t.Parallel()
	a := setup(t)
	target := "/platform/audit?eventType=JOB_RETRIED&slug=acme&actor=ada%40x&from=2026-01-31T12:00:00Z&to=2026-01-31T13:00:00Z&limit=2&cursor=Nw"
	a.do(t, "readonly", "GET", target, "").wantStatus(200).
		wantBody(`{"items":[{"auditId":7,"eventType":"JOB_RETRIED","tenantId":null,"slug":null,"platformUserId":null,"actor":"system",
		"jobId":null,"details":{},"at":"2026-01-31T12:00:00Z"}],"nextCursor":null}`)
	a.wantCalls(t, call{"ListAudit", []any{tenancy.AuditFilter{
		Type: tenancy.EventJobRetried, Slug: "acme", Actor: "ada@x", From: epoch, To: epoch.Add(time.Hour),
		Page: tenancy.Page{Limit: 2, Cursor: "Nw"},
	}}})
	a.do(t, "readonly", "GET", "/platform/audit?eventType=retried&from=yesterday&to=1", "").
		wantProblem(422, tenancy.CodeInvalidRequest, "/eventType", "/from", "/to")
}
