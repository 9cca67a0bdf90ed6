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

// authorize finds out who calls and whether one of the roles is theirs. It fails
// with CodeUnauthenticated, CodeForbidden or CodeRateLimited.
func (s *server) authorize(c *gin.Context, roles []tenancy.Role) error {
	if len(roles) == 0 {
		return nil
	}
	token, ok := bearerToken(c.Request)
	if !ok {
		return s.refuse(c, tenancy.Errorf(tenancy.CodeUnauthenticated,
			"An API token is needed, in the header Authorization: Bearer <token>."))
	}
	p, err := s.Auth.Authenticate(c.Request.Context(), token)
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
	if !slices.Contains(roles, p.Role) {
		return s.refuse(c, tenancy.Errorf(tenancy.CodeForbidden, "The role %s may not do this.", p.Role))
	}
	return nil
}

func bearerToken(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// refuse audits a refused attempt and returns what to answer: the refusal or,
// once strangers at the address have failed too often, CodeRateLimited, which
// is not audited. A known caller is never limited.
func (s *server) refuse(c *gin.Context, refusal *tenancy.Error) error {
	who := actor(c)
	if who == (tenancy.Actor{}) {
		if !s.failures.allow(c.ClientIP()) {
			return tenancy.Errorf(tenancy.CodeRateLimited, "Too many failed attempts from this address.")
		}
		who = tenancy.Actor{Name: anonymous}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), auditTimeout)
	defer cancel()
	id := exchangeOf(c).requestID
	err := s.Audit.AppendAudit(ctx, tenancy.AuditEvent{
		Type: tenancy.EventAccessDenied, Actor: who,
		Details: map[string]any{
			"method": knownMethod(c.Request.Method), "route": c.FullPath(), "status": outcomes[refusal.Code].status,
			"requestId": id, "clientIp": c.ClientIP(),
		},
	})
	if err != nil {
		s.Log.LogAttrs(ctx, slog.LevelError, "cannot audit a refused attempt",
			slog.String("requestId", id), slog.String("route", c.FullPath()), slog.Any("error", err))
	}
	return refusal
}
