package http

import (
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const tokenFields = `"tokenId":"` + someTokenID + `","name":"ci",
	"owner":{"platformUserId":"` + someUserID + `","email":"admin@platform.example","displayName":"Ada","role":"PLATFORM_ADMIN"},
	"createdAt":"2026-01-31T12:00:00Z","expiresAt":null,"lastUsedAt":null`

func TestTokenIsShownOnce(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "readonly", "POST", "/platform/api-tokens", `{"name":" ci "}`).wantStatus(201).
		wantHeader("Cache-Control", "no-store").wantBody(`{` + tokenFields + `,"token":"tenantry_shown-once"}`)
	who := a.users["readonly"].Actor
	a.wantCalls(t, call{"Create", []any{who.UserID, "ci", (*time.Time)(nil), who}})
	a.do(t, "readonly", "GET", "/platform/api-tokens", "").wantStatus(200).wantBody(`{"items":[{` + tokenFields + `}],"nextCursor":null}`)
	if strings.Contains(a.log.String(), "shown-once") {
		t.Error("the token is in the log")
	}
}

func TestTokenExpiry(t *testing.T) {
	t.Parallel()
	a := setup(t)
	in90, later := epoch.AddDate(0, 0, 90), epoch.Add(time.Hour)
	a.do(t, "admin", "POST", "/platform/api-tokens", `{"name":"ci","expiresInDays":90}`).wantStatus(201)
	a.do(t, "admin", "POST", "/platform/api-tokens", `{"name":"ci","expiresAt":"2026-01-31T13:00:00Z"}`).wantStatus(201)
	a.wantCalls(t,
		call{"Create", []any{adminActor.UserID, "ci", &in90, adminActor}},
		call{"Create", []any{adminActor.UserID, "ci", &later, adminActor}})
	for body, pointers := range map[string][]string{
		`{"expiresInDays":0}`:                              {"/name", "/expiresInDays"},
		`{"name":"ci","expiresInDays":3651}`:               {"/expiresInDays"},
		`{"name":"ci","expiresAt":"2026-01-31T12:00:00Z"}`: {"/expiresAt"},
		`{"name":"ci","expiresAt":"tomorrow"}`:             {"/expiresAt"},
		`{"name":"ci","expiresAt":"x","expiresInDays":1}`:  {"/expiresInDays"},
		`{"name":"ci","owner":"` + someUserID + `"}`:       {"/owner"},
		`{"name":"` + strings.Repeat("n", 101) + `"}`:      {"/name"},
	} {
		a.do(t, "admin", "POST", "/platform/api-tokens", body).wantProblem(422, tenancy.CodeInvalidRequest, pointers...)
	}
	a.wantCalls(t)
}

func TestOnlyAdminsReachEveryonesTokens(t *testing.T) {
	t.Parallel()
	a := setup(t)
	path := "/platform/api-tokens/" + someTokenID
	for token, owner := range map[string]tenancy.UserID{"admin": "", "support": "id-of-support", "readonly": "id-of-readonly"} {
		a.do(t, token, "GET", "/platform/api-tokens", "").wantStatus(200)
		a.do(t, token, "DELETE", path, "").wantStatus(204)
		a.wantCalls(t,
			call{"ListTokens", []any{owner}},
			call{"RevokeToken", []any{tenancy.TokenID(someTokenID), owner, a.users[token].Actor}})
	}
	a.do(t, "admin", "DELETE", "/platform/api-tokens/x", "").wantProblem(404, tenancy.CodeNotFound)
	a.fail = tenancy.Errorf(tenancy.CodeNotFound, "There is no such token.")
	a.do(t, "support", "DELETE", path, "").wantProblem(404, tenancy.CodeNotFound)
}

func TestNobodyComesAsNobody(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.users["ghost"] = tenancy.Principal{Role: tenancy.RoleReadOnly}
	a.do(t, "ghost", "GET", "/platform/api-tokens", "").wantProblem(500, tenancy.CodeInternal)
	a.wantCalls(t)
}
