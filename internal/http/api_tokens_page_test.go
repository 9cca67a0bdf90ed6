package http

import (
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const tokensPagePath = "/platform/api-tokens"

func TestTokensPage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.token.Name = hostile
	w := a.browse(t, "session-admin", "GET", tokensPagePath, nil).wantStatus(200)
	w.shows("Everyone's tokens", html.EscapeString(hostile), "admin@platform.example", "never", `action="`+tokensPagePath+`/`+someTokenID+`"`, `name="_method" value="DELETE"`, "<details", `value="90"`)
	w.hides(hostile, "expired", "fresh-token")
	a.wantCalls(t, call{"ListTokens", []any{tenancy.UserID("")}})
	a.browse(t, "session-readonly", "GET", tokensPagePath, nil).wantStatus(200).shows("Your tokens", "Make a token")
	a.wantCalls(t, call{"ListTokens", []any{tenancy.UserID("id-of-readonly")}})
	// The page is for API tokens too, as the API is.
	a.browse(t, "support", "GET", tokensPagePath, nil).wantStatus(200).shows("Your tokens").hides("Sign out")
	a.browse(t, "", "GET", tokensPagePath, nil).leads("/platform/session?next=%2Fplatform%2Fapi-tokens")

	past, soon := epoch.Add(-time.Hour), epoch.Add(time.Hour)
	a.token.ExpiresAt, a.token.LastUsedAt = &past, &past
	a.browse(t, "session-admin", "GET", tokensPagePath, nil).shows("expired", `datetime="2026-01-31T11:00:00Z"`)
	a.token.ExpiresAt = &soon
	a.browse(t, "session-admin", "GET", tokensPagePath, nil).hides("expired")
	a.fail = tenancy.Unavailable(nil, "the master database does not answer")
	a.browse(t, "session-admin", "GET", tokensPagePath, nil).wantStatus(503).shows("E_DEPENDENCY_UNAVAILABLE")

	empty := setup(t, func(c *Config) { c.Tokens = tokensOf{Tokens: c.Tokens} })
	empty.browse(t, "session-support", "GET", tokensPagePath, nil).wantStatus(200).shows("There are no tokens yet", "Make a token")
}

func TestTokenIsShownOnceOnAPage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	who, in30 := a.users["readonly"].Actor, epoch.AddDate(0, 0, 30)
	w := a.browse(t, "session-readonly", "POST", tokensPagePath, url.Values{"name": {" ci "}, "expiresInDays": {"30"}}).wantStatus(201)
	w.shows(`<code id="fresh-token">tenantry_shown-once</code>`, `data-copy="#fresh-token"`, "shown this once")
	if n := strings.Count(w.Body.String(), "shown-once"); n != 1 || w.Header().Get("Location") != "" {
		t.Errorf("the token is on the page %d times, Location = %q", n, w.Header().Get("Location"))
	}
	a.wantCalls(t, call{"ListTokens", []any{who.UserID}}, call{"Create", []any{who.UserID, "ci", &in30, who}})
	a.browse(t, "session-readonly", "POST", tokensPagePath, url.Values{"name": {"ci"}, "expiresInDays": {"30"}, "never": {"true"}}).wantStatus(201)
	a.wantCalls(t, call{"ListTokens", []any{who.UserID}}, call{"Create", []any{who.UserID, "ci", (*time.Time)(nil), who}})
	a.browse(t, "session-readonly", "GET", tokensPagePath, nil).hides("shown-once")
	if strings.Contains(a.log.String(), "shown-once") {
		t.Error("the token is in the log")
	}
}

func TestTokenFormIsRefused(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for _, days := range []string{"", "0", "3651", "soon", hostile} {
		a.browse(t, "session-admin", "POST", tokensPagePath, url.Values{"name": {hostile}, "expiresInDays": {days}}).wantStatus(422).
			shows("There is a problem", `href="#expiresInDays"`, "from 1 to 3650", `value="`+html.EscapeString(days)+`"`, `value="`+html.EscapeString(hostile)+`"`).
			hides(hostile, "fresh-token")
	}
	a.browse(t, "session-admin", "POST", tokensPagePath, url.Values{"never": {"true"}}).wantStatus(422).shows(`href="#name"`, `name="never" value="true" checked`)
	for _, c := range a.calls {
		if c.Method == "Create" {
			t.Errorf("a token was made: %v", c)
		}
	}
	a.browse(t, "", "POST", tokensPagePath, url.Values{"name": {"ci"}}).wantStatus(401).shows("Sign in")
}

func TestRevokeATokenFromThePage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	revoke := url.Values{"_method": {"DELETE"}}
	for who, owner := range map[string]tenancy.UserID{"admin": "", "support": "id-of-support"} {
		a.browse(t, "session-"+who, "POST", tokensPagePath+"/"+someTokenID, revoke).leads(tokensPagePath)
		a.wantCalls(t, call{"RevokeToken", []any{tenancy.TokenID(someTokenID), owner, a.users[who].Actor}})
	}
	a.browse(t, "session-admin", "POST", tokensPagePath+"/x", revoke).wantStatus(404)
	a.fail = tenancy.Errorf(tenancy.CodeNotFound, "There is no such token.")
	a.browse(t, "session-admin", "POST", tokensPagePath+"/"+someTokenID, revoke).wantStatus(404).shows("There is no such token.")
}
