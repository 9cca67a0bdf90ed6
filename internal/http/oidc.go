package http

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// OIDC signs people in through an OpenID Connect provider.
type OIDC interface {
	// Begin returns where to send the person.
	Begin(ctx context.Context, fresh bool) (string, tenancy.SignInFlow, error)
	// Finish fails with CodeUnauthenticated and CodeForbidden.
	Finish(ctx context.Context, f tenancy.SignInFlow, state, code string) (id tenancy.ExternalIdentity, secondFactor bool, err error)
}

// OIDCCallbackPath is where the provider sends people back.
const OIDCCallbackPath = sessionPath + "/oidc/callback"

// flowSeconds is how long a person may take at the provider.
const flowSeconds = 600

type flowCookie struct {
	tenancy.SignInFlow
	Next string
}

func (s *server) flowCookie() string {
	if s.secure() {
		return "__Host-tenantry_flow"
	}
	return "tenantry_flow"
}

// beginOIDC serves GET /platform/session/oidc.
func (s *server) beginOIDC(c *gin.Context) error {
	if s.OIDC == nil {
		return tenancy.Errorf(tenancy.CodeNotFound, "No identity provider is configured (OIDC_ISSUER).")
	}
	to, flow, err := s.OIDC.Begin(c.Request.Context(), c.Query("fresh") != "")
	if err != nil {
		return err
	}
	value, err := json.Marshal(flowCookie{flow, localPath(c.Query("next"))})
	if err != nil {
		return err
	}
	s.setCookie(c, s.flowCookie(), base64.RawURLEncoding.EncodeToString(value), flowSeconds)
	c.Redirect(http.StatusSeeOther, to)
	return nil
}

// finishOIDC serves GET /platform/session/oidc/callback.
func (s *server) finishOIDC(c *gin.Context) error {
	if s.OIDC == nil {
		return tenancy.Errorf(tenancy.CodeNotFound, "No identity provider is configured (OIDC_ISSUER).")
	}
	var flow flowCookie
	if cookie, err := c.Request.Cookie(s.flowCookie()); err == nil {
		if value, err := base64.RawURLEncoding.DecodeString(cookie.Value); err == nil {
			_ = json.Unmarshal(value, &flow) // a broken one fits no answer
		}
	}
	s.setCookie(c, s.flowCookie(), "", -1)
	if c.Query("error") != "" {
		return s.refuseExternal(c, tenancy.Errorf(tenancy.CodeForbidden, "The identity provider did not sign you in."))
	}
	id, secondFactor, err := s.OIDC.Finish(c.Request.Context(), flow.SignInFlow, c.Query("state"), c.Query("code"))
	if err != nil {
		return s.refuseExternal(c, err)
	}
	signed, err := s.Sessions.SignInExternal(c.Request.Context(), id, secondFactor, tenancy.SignIn{
		Address: c.ClientIP(), UserAgent: c.Request.UserAgent(), Token: s.sessionToken(c),
	})
	if err != nil {
		return s.refuseExternal(c, err)
	}
	s.setSession(c, signed.Token)
	return redirect(c, localPath(flow.Next))
}

// refuseExternal audits a refusal; it is told as a page of its own, since asking
// once more would only lead to the provider and back.
func (s *server) refuseExternal(c *gin.Context, err error) error {
	switch e := tenancy.AsError(err); e.Code {
	case tenancy.CodeUnauthenticated:
		s.logFailure(c, s.problemOf(c, err), err)
		return s.refuse(c, tenancy.Wrap(tenancy.CodeForbidden, e.Err, e.Message))
	case tenancy.CodeForbidden:
		return s.refuse(c, e)
	}
	return err
}
