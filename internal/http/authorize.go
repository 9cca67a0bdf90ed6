package http

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// anonymous is the actor of attempts whose caller is not known.
const anonymous = "anonymous"

// auditTimeout bounds the audit of a refused attempt, which goes on after the
// caller has hung up.
const auditTimeout = 5 * time.Second

// errSignInAgain asks a person who is signed in to show once more who they are,
// before something that cannot be undone or outlives the session.
var errSignInAgain = &tenancy.Error{
	Code: tenancy.CodeForbidden, Message: "Sign in again first: this is for those who signed in just now.",
	Fields: []tenancy.FieldError{{Code: "sign_in_again", Detail: "The sign-in must be a fresh one."}},
}

// errSecondFactorPending is what a session gets whose second factor is not shown.
var errSecondFactorPending = &tenancy.Error{
	Code: tenancy.CodeForbidden, Message: "The second factor is needed first.",
	Fields: []tenancy.FieldError{{Code: "second_factor_pending", Detail: "Show the second factor or, if there is none, set one up."}},
}

// authorize finds out who calls and whether the route is for them. It fails with
// CodeUnauthenticated, CodeForbidden or CodeRateLimited.
func (s *server) authorize(c *gin.Context, r route) error {
	if len(r.roles) == 0 {
		return nil
	}
	p, err := s.identify(c)
	switch {
	case tenancy.CodeOf(err) == tenancy.CodeUnauthenticated:
		return s.refuse(c, tenancy.AsError(err))
	case err != nil:
		return err
	case p.UserID == "":
		// An empty owner selects everyone's tokens; nobody may come as nobody.
		return errors.New("cannot authorize: the authenticator named no user")
	}
	exchangeOf(c).principal = p
	switch {
	case p.Pending && r.needs&pending == 0:
		return s.refuse(c, errSecondFactorPending)
	case !slices.Contains(r.roles, p.Role):
		return s.refuse(c, tenancy.Errorf(tenancy.CodeForbidden, "The role %s may not do this.", p.Role))
	case r.needs&session != 0 && p.SessionID == "":
		return s.refuse(c, tenancy.Errorf(tenancy.CodeForbidden, "This is for people who are signed in, not for API tokens."))
	case r.needs&fresh != 0 && p.SessionID != "" && !s.Sessions.Fresh(p):
		return s.refuse(c, errSignInAgain)
	}
	return nil
}

// identify returns who calls: the holder of the API token in the header or, if
// there is none, of the session in the cookie. Of the job that is polled, if any, it
// asks in the same go.
func (s *server) identify(c *gin.Context) (p tenancy.Principal, err error) {
	if token, ok := bearerToken(c.Request); ok {
		if watched := watchedJob(c); watched != "" {
			p, exchangeOf(c).watched, err = s.Auth.AuthenticateWatcher(c.Request.Context(), token, watched)
			return p, err
		}
		return s.Auth.Authenticate(c.Request.Context(), token)
	}
	if token := s.sessionToken(c); token != "" && s.Sessions != nil {
		p, err := s.Sessions.Authenticate(c.Request.Context(), token)
		if tenancy.CodeOf(err) == tenancy.CodeUnauthenticated {
			s.setSession(c, "")
		}
		return p, err
	}
	return tenancy.Principal{}, tenancy.Errorf(tenancy.CodeUnauthenticated,
		"Sign in, or send an API token in the header Authorization: Bearer <token>.")
}

func bearerToken(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// refuse audits a refused attempt and returns what to answer: the refusal or,
// once strangers at the address have failed too often, CodeRateLimited, which
// is not audited. A known caller is never limited. Of a caller who is refused on and
// on, the audit has a count.
func (s *server) refuse(c *gin.Context, refusal *tenancy.Error) error {
	who, key := actor(c), stranger(c, refusal)
	if who == (tenancy.Actor{}) {
		if !s.limits.failures.allow(key) {
			return tenancy.Errorf(tenancy.CodeRateLimited, "Too many failed attempts from this address.")
		}
		who = tenancy.Actor{Name: anonymous}
	}
	if exchangeOf(c).visit != nil {
		return refusal // nobody asked for anything of the platform's
	}
	ok, repeats := s.limits.record(who.UserID, key)
	if !ok {
		return refusal
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), auditTimeout)
	defer cancel()
	id := exchangeOf(c).requestID
	details := map[string]any{
		"method": knownMethod(c.Request.Method), "route": c.FullPath(), "status": outcomes[refusal.Code].status,
		"requestId": id, "clientIp": c.ClientIP(),
	}
	if repeats > 0 {
		details["repeats"] = repeats
	}
	err := s.Audit.AppendAudit(ctx, tenancy.AuditEvent{Type: tenancy.EventAccessDenied, Actor: who, Details: details})
	if err != nil {
		s.Log.LogAttrs(ctx, slog.LevelError, "cannot audit a refused attempt",
			slog.String("requestId", id), slog.String("route", c.FullPath()), slog.Any("error", err))
	}
	return refusal
}
