package http

import (
	"html"
	"net/url"
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestServersPage(t *testing.T) {
	t.Parallel()
	full, none := 4, 0
	server := func(name string, hint *int, active bool) tenancy.ServerLoad {
		return tenancy.ServerLoad{TenantCount: 3, Reserved: 1, DBServer: tenancy.DBServer{
			Name: name, Host: name + ".internal", Port: 5432, Region: hostile, AdminSecretRef: name + "-admin", CapacityHint: hint, IsActive: active,
		}}
	}
	a := setup(t, func(c *Config) {
		c.Servers = serversOf{c.Servers, []tenancy.ServerLoad{server("pg-full", &full, true), server("pg-open", nil, true), server("pg-off", &none, false)}}
	})
	w := a.browse(t, "session-readonly", "GET", "/platform/db-servers", nil).wantStatus(200)
	w.shows(`href="/platform/db-servers/pg-full"`, "full", "active", "inactive", "no limit", "3 used and 1 reserved of 4", "0 of 4 free",
		`data-label="Capacity" class="number">4<`, `data-label="Used" class="number">3<`, `data-label="Reserved" class="number">1<`,
		"pg-open.internal:5432", "pg-off-admin", html.EscapeString(hostile))
	w.hides(hostile, "/platform/db-servers/new")
	a.browse(t, "session-admin", "GET", "/platform/db-servers", nil).shows(`href="/platform/db-servers/new"`)

	empty := setup(t, func(c *Config) { c.Servers = serversOf{Servers: c.Servers} })
	empty.browse(t, "session-support", "GET", "/platform/db-servers", nil).wantStatus(200).shows("There are no database servers yet").hides("<table")
	a = setup(t)
	a.fail = tenancy.Unavailable(nil, "the master database does not answer")
	a.browse(t, "session-admin", "GET", "/platform/db-servers", nil).wantStatus(503).shows("E_DEPENDENCY_UNAVAILABLE")
	a.browse(t, "", "GET", "/platform/db-servers", nil).leads("/platform/session?next=%2Fplatform%2Fdb-servers")
}

const serverPagePath = "/platform/db-servers/pg-a"

func TestServerPage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	w := a.browse(t, "session-admin", "GET", serverPagePath, nil).wantStatus(200)
	w.shows("<h1>pg-a ", "active", "pg-a.internal:5432", "pg-a-admin", "46 of 50 free", `href="/platform/tenants?server=pg-a"`,
		`name="capacityHint"`, `value="50"`, `name="isActive" value="false"`, "takes no new tenants", "stay and work as before")
	w.hides("value=\"true\" checked")
	for _, who := range []string{"session-support", "session-readonly"} {
		a.browse(t, who, "GET", serverPagePath, nil).wantStatus(200).shows("46 of 50 free").hides("capacityHint", "isActive")
	}
	a.server.CapacityHint, a.server.IsActive = nil, false
	a.browse(t, "session-admin", "GET", serverPagePath, nil).wantStatus(200).
		shows("inactive", "no limit", `name="unlimited" value="true" checked`, `name="isActive" value="true"`, "Activate the server")
	a.browse(t, "session-admin", "GET", "/platform/db-servers/PG", nil).wantStatus(404).shows("NOT_FOUND")
}

func TestChangeAServerFromItsPage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	seventy, yes, no := 70, true, false
	for _, c := range []struct {
		form   url.Values
		change tenancy.ServerChange
	}{
		{url.Values{"capacityHint": {" 70 "}}, tenancy.ServerChange{CapacityHint: &seventy}},
		{url.Values{"capacityHint": {"70"}, "unlimited": {"true"}}, tenancy.ServerChange{Unlimited: true}},
		{url.Values{"isActive": {"false"}}, tenancy.ServerChange{IsActive: &no}},
		{url.Values{"isActive": {"true"}}, tenancy.ServerChange{IsActive: &yes}},
	} {
		c.form.Set("_method", "PATCH")
		a.browse(t, "session-admin", "POST", serverPagePath, c.form).leads(serverPagePath)
		a.wantCalls(t, call{"UpdateServer", []any{"pg-a", c.change, adminActor}})
		for who, status := range map[string]int{"session-support": 403, "session-readonly": 403, "": 401} {
			a.browse(t, who, "POST", serverPagePath, c.form).wantStatus(status)
		}
		a.wantCalls(t)
	}
	for _, typed := range []string{"", "many", "-3", "1e3", hostile} {
		a.browse(t, "session-admin", "POST", serverPagePath, url.Values{"_method": {"PATCH"}, "capacityHint": {typed}}).wantStatus(422).
			shows("There is a problem", "This must be a whole number", `href="#capacityHint"`, `value="`+html.EscapeString(typed)+`"`).hides(hostile)
	}
	a.wantCalls(t, call{"Server", []any{"pg-a"}}, call{"Server", []any{"pg-a"}}, call{"Server", []any{"pg-a"}}, call{"Server", []any{"pg-a"}}, call{"Server", []any{"pg-a"}})
	a.browse(t, "session-admin", "GET", serverPagePath, nil, "Cookie", "tenantry_session=session-admin; tenantry_notice=server-changed").shows("The database server is changed.")
}

func TestAddAServerFromItsPage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.browse(t, "session-admin", "GET", "/platform/db-servers/new", nil).wantStatus(200).shows("<h1>New database server</h1>", `name="port"`, `value="5432"`, "autofocus")
	for _, who := range []string{"session-support", "session-readonly"} {
		a.browse(t, who, "GET", "/platform/db-servers/new", nil).wantStatus(403)
	}
	typed := url.Values{"name": {"pg-c"}, "host": {" pg-c.internal "}, "port": {"5433"}, "region": {"eu"}, "adminSecretRef": {"pg-c-admin"}, "capacityHint": {""}}
	a.browse(t, "session-admin", "POST", "/platform/db-servers", typed).leads("/platform/db-servers/pg-c")
	c := tenancy.DBServer{Name: "pg-c", Host: "pg-c.internal", Port: 5433, Region: "eu", AdminSecretRef: "pg-c-admin", IsActive: true}
	a.wantCalls(t, call{"AddServer", []any{c, adminActor}})
	nine := 9
	c.CapacityHint = &nine
	typed.Set("capacityHint", "9")
	a.browse(t, "session-admin", "POST", "/platform/db-servers", typed).leads("/platform/db-servers/pg-c")
	a.wantCalls(t, call{"AddServer", []any{c, adminActor}})
	a.browse(t, "session-readonly", "POST", "/platform/db-servers", typed).wantStatus(403)

	wrong := url.Values{"name": {"PG"}, "host": {hostile}, "port": {"x"}, "region": {"\x01"}, "adminSecretRef": {"postgres://u:p@h"}, "capacityHint": {"-1"}}
	a.browse(t, "session-admin", "POST", "/platform/db-servers", wrong).wantStatus(422).
		shows(`href="#name"`, `href="#host"`, `href="#port"`, `href="#region"`, `href="#adminSecretRef"`, `href="#capacityHint"`,
			`value="PG"`, `value="`+html.EscapeString(hostile)+`"`, `value="x"`, `value="-1"`, "invalid-feedback").hides(hostile, "autofocus")
	a.browse(t, "session-admin", "POST", "/platform/db-servers", url.Values{"name": {"new"}, "host": {"h"}, "port": {"1"}, "adminSecretRef": {"r"}}).
		wantStatus(422).shows("the address of the console")
	a.wantCalls(t)
	a.fail = tenancy.Errorf(tenancy.CodeConflict, `There is a database server "pg-c" already.`)
	a.browse(t, "session-admin", "POST", "/platform/db-servers", typed).wantStatus(409).shows("There is a database server", `value="pg-c"`)
	a.fail = tenancy.Unavailable(nil, "the master database does not answer")
	a.browse(t, "session-admin", "POST", "/platform/db-servers", typed).wantStatus(503).shows("E_DEPENDENCY_UNAVAILABLE")
}
