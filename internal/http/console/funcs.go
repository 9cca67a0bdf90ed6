package console

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

var funcs = template.FuncMap{
	"asset": AssetURL, "icon": icon, "status": status, "time": showTime, "took": took, "words": words,
	"query": query, "dict": dict, "upTo": upTo,
	"label": func(field string) string { return labels[field] },
	"help":  func(code string) Help { return HelpFor(tenancy.Code(code)) },
	"statuses": func() []tenancy.TenantStatus {
		return []tenancy.TenantStatus{
			tenancy.TenantProvisioning, tenancy.TenantActive, tenancy.TenantReadOnly, tenancy.TenantSuspended, tenancy.TenantOffboarding,
		}
	},
	"settable": func() []tenancy.TenantStatus {
		return []tenancy.TenantStatus{tenancy.TenantActive, tenancy.TenantReadOnly, tenancy.TenantSuspended}
	},
}

// labels are what forms call their fields, for the summary of their faults.
var labels = map[string]string{
	"slug": "Slug", "displayName": "Display name", "adminEmail": "First admin e-mail", "dbServer": "Target db server",
	"reason": "Reason", "confirm": "Confirmation", "retentionDays": "Days to keep the data",
	"email": "E-mail address", "password": "Password", "code": "Code", "currentPassword": "Current password", "newPassword": "New password",
	"name": "Name", "host": "Host", "port": "Port", "region": "Region", "adminSecretRef": "Admin secret", "capacityHint": "Capacity",
	"expiresInDays": "Expires in days",
}

// words turns a stored name into words: "read_only" into "read only".
func words(name any) string { return strings.ReplaceAll(fmt.Sprint(name), "_", " ") }

// showTime shows a moment in UTC; console.js rewrites it to the reader's zone and
// leaves UTC on hover.
func showTime(v any) template.HTML {
	var t time.Time
	switch at := v.(type) {
	case time.Time:
		t = at
	case *time.Time:
		if at != nil {
			t = *at
		}
	}
	if t.IsZero() {
		return `<span class="text-secondary">–</span>`
	}
	t = t.UTC()
	said := t.Format("2006-01-02 15:04:05") + " UTC"
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339Nano) + `" title="` + said + `">` + said + `</time>`) //nolint:gosec // only digits
}

// took is how long something lasted, "" if it has not ended.
func took(from, to *time.Time) string {
	if from == nil || to == nil {
		return ""
	}
	d := to.Sub(*from)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// query returns a page's address with a parameter changed; an empty value takes
// it away. The cursor goes with every other change.
func query(here, name string, value any) string {
	u, err := url.Parse(here)
	if err != nil {
		return here
	}
	q := u.Query()
	q.Del("cursor")
	if v := fmt.Sprint(value); v != "" {
		q.Set(name, v)
	} else {
		q.Del(name)
	}
	u.RawQuery = q.Encode()
	return u.RequestURI()
}

// dict gives a template of several parts its parts.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict needs pairs, and has %d values", len(pairs))
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m, nil
}

// upTo is part of whole in percent, from 0 to 100.
func upTo(part, whole int) int {
	if whole <= 0 {
		return 0
	}
	return min(100, max(0, part*100/whole))
}

// looks is the colour and the icon of each status.
var looks = map[string]struct{ colour, icon string }{
	string(tenancy.TenantProvisioning): {"blue", "clock"}, string(tenancy.TenantActive): {"green", "check"},
	string(tenancy.TenantReadOnly): {"yellow", "lock"}, string(tenancy.TenantSuspended): {"red", "pause"},
	string(tenancy.TenantOffboarding): {"orange", "logout"},

	string(tenancy.JobQueued): {"secondary", "clock"}, string(tenancy.JobRunning): {"blue", "player"},
	string(tenancy.JobRollingBack): {"orange", "undo"}, string(tenancy.JobComplete): {"green", "check"},
	string(tenancy.JobFailed): {"red", "alert"}, string(tenancy.JobCancelled): {"secondary", "x"},

	string(tenancy.PhasePending): {"secondary", "circle"}, string(tenancy.PhaseDone): {"green", "check"},
	string(tenancy.PhaseUndone): {"orange", "undo"}, string(tenancy.PhaseSkipped): {"secondary", "minus"},

	"rejected": {"red", "x"}, "valid": {"green", "check"}, "sent": {"green", "check"}, "superseded": {"secondary", "minus"},
	"inactive": {"secondary", "minus"}, "full": {"red", "alert"},
}

// status shows a status in words, with an icon and a colour.
func status(name any) template.HTML {
	said := fmt.Sprint(name)
	look, ok := looks[said]
	if !ok {
		look.colour, look.icon = "secondary", "circle"
	}
	return template.HTML(`<span class="status status-`+look.colour+`">`+string(icon(look.icon))+` `) + //nolint:gosec // from the table
		template.HTML(template.HTMLEscapeString(words(said))) + `</span>` //nolint:gosec // escaped
}
