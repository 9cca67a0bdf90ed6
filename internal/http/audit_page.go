package http

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// auditPage serves the page of GET /platform/audit. Its form sends times without
// a zone, which are UTC; the page's address always has the API's own.
func (s *server) auditPage(c *gin.Context) error {
	q := query{c: c, typed: true}
	filter := auditFilter(&q)
	err := q.Err()
	here, typed := zoned(c.Request.URL, filter)
	switch {
	case err != nil || !typed:
	case isFragment(c):
		c.Header("HX-Push-Url", here)
	default:
		return redirect(c, here)
	}
	page := console.AuditPage{Frame: s.frame(c, "Audit", "Audit"), Filter: filter, Types: tenancy.EventTypes()}
	page.Here = withoutJob(here)
	if err != nil {
		page.Fault = tenancy.AsError(err).Message
		return s.render(c, http.StatusUnprocessableEntity, page, "list")
	}
	events, next, err := s.Audit.ListAudit(c.Request.Context(), filter)
	if err != nil {
		return err
	}
	page.Next = next
	for _, e := range events {
		text, err := detailsText(e, "  ")
		if err != nil {
			return err
		}
		page.Events = append(page.Events, console.AuditRow{AuditEvent: e, JSON: text})
	}
	return s.render(c, http.StatusOK, page, "list")
}

// zoned is a page's address with from and to as the API takes them, and whether
// they were typed in another way.
func zoned(u *url.URL, filter tenancy.AuditFilter) (here string, typed bool) {
	values := u.Query()
	for name, at := range map[string]time.Time{"from": filter.From, "to": filter.To} {
		if value := values.Get(name); value != "" {
			if _, err := time.Parse(time.RFC3339, value); err != nil && !at.IsZero() {
				typed = true
				values.Set(name, at.UTC().Format(time.RFC3339))
			}
		}
	}
	if !typed {
		return u.RequestURI(), false
	}
	return u.Path + "?" + values.Encode(), true
}

// detailsText is an event's details as JSON for people, "" if there are none.
func detailsText(e tenancy.AuditEvent, indent string) (string, error) {
	if len(e.Details) == 0 {
		return "", nil
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(e.Details); err != nil {
		return "", fmt.Errorf("cannot encode the details of event %d: %w", e.ID, err)
	}
	return string(bytes.TrimSpace(text.Bytes())), nil
}

// auditCSV serves GET /platform/audit.csv: all that the filter selects.
func (s *server) auditCSV(c *gin.Context) error {
	q := query{c: c, typed: true}
	filter := auditFilter(&q)
	if err := q.Err(); err != nil {
		return err
	}
	filter.Page = tenancy.Page{Limit: tenancy.MaxPage}
	return writeCSV(c, "audit.csv",
		[]string{"auditId", "at", "eventType", "slug", "tenantId", "actor", "platformUserId", "jobId", "details"},
		func(cursor string) (rows [][]string, next string, err error) {
			filter.Page.Cursor = cursor
			events, next, err := s.Audit.ListAudit(c.Request.Context(), filter)
			if err != nil {
				return nil, "", err
			}
			for _, e := range events {
				details, err := detailsText(e, "")
				if err != nil {
					return nil, "", err
				}
				rows = append(rows, []string{
					strconv.FormatInt(e.ID, 10), e.At.UTC().Format(time.RFC3339Nano), string(e.Type), e.Slug, string(e.TenantID),
					e.Actor.Name, string(e.Actor.UserID), string(e.JobID), details,
				})
			}
			return rows, next, nil
		})
}
