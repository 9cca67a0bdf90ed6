package http

import (
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const serverBody = `{"name":"pg-a","host":"pg-a.internal","port":5432,"region":"","adminSecretRef":"pg-a-admin","capacityHint":50,
	"isActive":true,"tenantCount":3,"reserved":1,"headroom":46}`

func TestShowServers(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "readonly", "GET", "/platform/db-servers", "").wantStatus(200).wantBody(`{"items":[` + serverBody + `],"nextCursor":null}`)
	a.do(t, "readonly", "GET", "/platform/db-servers/pg-a", "").wantStatus(200).wantBody(serverBody)
	a.wantCalls(t, call{"ListServers", nil}, call{"Server", []any{"pg-a"}})
	a.do(t, "readonly", "GET", "/platform/db-servers/PG", "").wantProblem(404, tenancy.CodeNotFound)
	a.server.CapacityHint = nil
	got := decodeBody[serverJSON](a.do(t, "readonly", "GET", "/platform/db-servers/pg-a", "").wantStatus(200))
	if got.CapacityHint != nil || got.Headroom != nil {
		t.Errorf("an unlimited server shows limits: %+v", got)
	}
}

func TestAddServer(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "admin", "POST", "/platform/db-servers", `{"name":"pg-c","host":"10.0.0.3","port":5432,"adminSecretRef":"pg-c-admin"}`).
		wantStatus(201).wantHeader("Location", "/platform/db-servers/pg-c")
	a.wantCalls(t, call{"AddServer", []any{tenancy.DBServer{
		Name: "pg-c", Host: "10.0.0.3", Port: 5432, AdminSecretRef: "pg-c-admin", IsActive: true,
	}, adminActor}})
	a.do(t, "admin", "POST", "/platform/db-servers",
		`{"name":"pg-c","host":"h","port":1,"region":" eu ","adminSecretRef":"r","capacityHint":0,"isActive":false}`).wantStatus(201)
	zero := 0
	a.wantCalls(t, call{"AddServer", []any{tenancy.DBServer{
		Name: "pg-c", Host: "h", Port: 1, Region: "eu", AdminSecretRef: "r", CapacityHint: &zero,
	}, adminActor}})
	a.do(t, "admin", "POST", "/platform/db-servers", `{}`).
		wantProblem(422, tenancy.CodeInvalidRequest, "/name", "/host", "/port", "/adminSecretRef")
	a.do(t, "admin", "POST", "/platform/db-servers",
		`{"name":"_","host":"a b","port":65536,"region":"\u0001","adminSecretRef":"a_b","capacityHint":-1,"isActive":null}`).
		wantProblem(422, tenancy.CodeInvalidRequest, "/name", "/isActive", "/host", "/port", "/region", "/adminSecretRef", "/capacityHint")
	a.do(t, "admin", "POST", "/platform/db-servers", `{"name":"pg-c","port":"5432"}`).wantProblem(422, tenancy.CodeInvalidRequest, "/port")
	a.wantCalls(t)
	a.fail = tenancy.Errorf(tenancy.CodeConflict, "There is a database server \"pg-c\" already.")
	a.do(t, "admin", "POST", "/platform/db-servers", `{"name":"pg-c","host":"h","port":1,"adminSecretRef":"r"}`).
		wantProblem(409, tenancy.CodeConflict)
}

func TestChangeServerTellsAbsentFromNull(t *testing.T) {
	t.Parallel()
	a := setup(t)
	seventy, no, host := 70, false, "pg-a2.internal"
	for body, change := range map[string]tenancy.ServerChange{
		`{"capacityHint":null}`:                      {Unlimited: true},
		`{"capacityHint":70}`:                        {CapacityHint: &seventy},
		`{"isActive":false}`:                         {IsActive: &no},
		`{"host":"pg-a2.internal","isActive":false}`: {Host: &host, IsActive: &no},
	} {
		a.do(t, "admin", "PATCH", "/platform/db-servers/pg-a", body).wantStatus(200)
		a.wantCalls(t, call{"UpdateServer", []any{"pg-a", change, adminActor}})
	}
	a.do(t, "admin", "PATCH", "/platform/db-servers/pg-a", `{}`).wantProblem(422, tenancy.CodeInvalidRequest, "")
	a.do(t, "admin", "PATCH", "/platform/db-servers/pg-a", `{"host":null}`).wantProblem(422, tenancy.CodeInvalidRequest, "/host")
	a.do(t, "admin", "PATCH", "/platform/db-servers/pg-a", `{"name":"pg-z"}`).wantProblem(422, tenancy.CodeInvalidRequest, "/name")
	a.do(t, "admin", "PATCH", "/platform/db-servers/pg-a", `{"capacityHint":"70"}`).wantProblem(422, tenancy.CodeInvalidRequest, "/capacityHint")
	a.do(t, "admin", "PATCH", "/platform/db-servers/PG", `{}`).wantProblem(404, tenancy.CodeNotFound)
}
