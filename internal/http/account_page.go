package http

import (
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// homePage serves the addresses people type.
func (s *server) homePage(c *gin.Context) error { return redirect(c, homePath) }

// accountPage serves the page of GET /platform/account.
func (s *server) accountPage(c *gin.Context) error { return s.renderAccount(c, http.StatusOK, nil) }

func (s *server) renderAccount(c *gin.Context, status int, faults *console.Faults) error {
	p := exchangeOf(c).principal
	account, err := s.Sessions.Account(c.Request.Context(), p.UserID)
	if err != nil {
		return err
	}
	sessions, err := s.Sessions.ListSessions(c.Request.Context(), p.UserID)
	if err != nil {
		return err
	}
	return s.render(c, status, console.AccountPage{
		Frame: s.frame(c, "", "Account"), Account: account, Sessions: sessions, Current: p.SessionID,
		Faults: faults, Required: s.RequireMFA && p.Role == tenancy.RoleAdmin,
	}, "")
}

// accountFaults shows the account with what was wrong, or returns the error.
func (s *server) accountFaults(c *gin.Context, err error) error {
	faults, err := pageFaults(err)
	if err != nil {
		return err
	}
	return s.renderAccount(c, outcomes[faults.Code].status, faults)
}

func (s *server) changePasswordFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	p := exchangeOf(c).principal
	if err := s.Sessions.ChangePassword(c.Request.Context(), p, c.ClientIP(), values.Get("currentPassword"), values.Get("newPassword")); err != nil {
		return s.accountFaults(c, err)
	}
	return redirectWith(c, "/platform/account", console.NoticePasswordChanged)
}

func (s *server) removeSecondFactorFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	if err := s.Sessions.RemoveSecondFactor(c.Request.Context(), exchangeOf(c).principal, c.ClientIP(), values.Get("currentPassword")); err != nil {
		return s.accountFaults(c, err)
	}
	return redirectWith(c, "/platform/account", console.NoticeSecondFactorRemoved)
}

func (s *server) endAccountSessionFromPage(c *gin.Context) error {
	if err := s.endAccountSession(c); err != nil {
		return err
	}
	return redirectWith(c, "/platform/account", console.NoticeSessionEnded)
}

const secondFactorPath = sessionPath + "/second-factor"

// secondFactorPage serves GET /platform/session/second-factor: to show the second
// factor, or to set one up.
func (s *server) secondFactorPage(c *gin.Context) error {
	return s.renderSecondFactor(c, http.StatusOK, nil, nil)
}

func (s *server) renderSecondFactor(c *gin.Context, status int, faults *console.Faults, codes []string) error {
	p := exchangeOf(c).principal
	account, err := s.Sessions.Account(c.Request.Context(), p.UserID)
	if err != nil {
		return err
	}
	if account.SecondFactor && codes == nil && !p.Pending {
		return redirect(c, "/platform/account")
	}
	page := console.SecondFactorPage{
		Frame: s.frame(c, "", "Second factor"), SetUp: account.SecondFactor, RecoveryCodes: codes, Faults: faults,
		Next: localPath(c.Request.FormValue("next")),
	}
	if !account.SecondFactor {
		e, begun, err := s.Sessions.PendingSecondFactor(c.Request.Context(), p)
		if err != nil {
			return err
		}
		if begun {
			qr := "data:image/png;base64," + base64.StdEncoding.EncodeToString(e.QR)
			page.Enrolment = &console.Enrolment{Secret: e.Secret, QR: template.URL(qr)} //nolint:gosec // a picture of ours
		}
	}
	return s.render(c, status, page, "")
}

func (s *server) beginSecondFactorFromPage(c *gin.Context) error {
	if _, err := s.Sessions.BeginSecondFactor(c.Request.Context(), exchangeOf(c).principal); err != nil {
		return err
	}
	return redirect(c, secondFactorPath+"?next="+url.QueryEscape(localPath(c.Request.FormValue("next"))))
}

func (s *server) confirmSecondFactorFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	codes, err := s.Sessions.ConfirmSecondFactor(c.Request.Context(), exchangeOf(c).principal, c.ClientIP(), values.Get("code"))
	if err != nil {
		return s.secondFactorFaults(c, s.refuseCode(c, err))
	}
	exchangeOf(c).principal.Pending = false
	return s.renderSecondFactor(c, http.StatusOK, nil, codes)
}

func (s *server) showSecondFactorFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	if err := s.Sessions.ShowSecondFactor(c.Request.Context(), exchangeOf(c).principal, c.ClientIP(), values.Get("code")); err != nil {
		return s.secondFactorFaults(c, s.refuseCode(c, err))
	}
	return redirect(c, localPath(values.Get("next")))
}

func (s *server) secondFactorFaults(c *gin.Context, err error) error {
	faults, err := pageFaults(err)
	if err != nil {
		return err
	}
	return s.renderSecondFactor(c, http.StatusUnprocessableEntity, faults, nil)
}
