package console

import (
	"net/url"
	"slices"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// AuditPage lists the audit trail.
type AuditPage struct {
	Frame
	Filter tenancy.AuditFilter
	Types  []tenancy.EventType
	Events []AuditRow
	Next   string
	Fault  string
}

func (AuditPage) template() string { return "audit" }

// AuditRow is an event, with its details as JSON, "" without any.
type AuditRow struct {
	tenancy.AuditEvent
	JSON string
}

// Filtered reports whether the list is narrowed down.
func (p AuditPage) Filtered() bool { return p.export().Encode() != "" }

// Known reports whether the type that is filtered by is one of Types.
func (p AuditPage) Known() bool {
	return p.Filter.Type == "" || slices.Contains(p.Types, p.Filter.Type)
}

// From is what the form's field shows: in UTC, as a datetime-local input has it.
func (p AuditPage) From() string { return typedTime(p.Filter.From) }

// To is the same of the other end.
func (p AuditPage) To() string { return typedTime(p.Filter.To) }

func typedTime(t time.Time) string {
	switch t = t.UTC(); {
	case t.IsZero():
		return ""
	case t.Second() == 0:
		return t.Format("2006-01-02T15:04")
	}
	return t.Format("2006-01-02T15:04:05")
}

// Export is the address of all that is selected, as CSV.
func (p AuditPage) Export() string {
	if selected := p.export().Encode(); selected != "" {
		return "/platform/audit.csv?" + selected
	}
	return "/platform/audit.csv"
}

func (p AuditPage) export() url.Values {
	values := url.Values{}
	for name, value := range map[string]string{"eventType": string(p.Filter.Type), "slug": p.Filter.Slug, "actor": p.Filter.Actor} {
		if value != "" {
			values.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"from": p.Filter.From, "to": p.Filter.To} {
		if !at.IsZero() {
			values.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return values
}
