package http

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// What an account may do with itself, as JSON; account_page.go has the page.

type accountJSON struct {
	User         userJSON             `json:"user"`
	SecondFactor bool                 `json:"secondFactor"`
	HasPassword  bool                 `json:"hasPassword"`
	Sessions     []accountSessionJSON `json:"sessions"`
}

type accountSessionJSON struct {
	SessionID  tenancy.SessionID `json:"sessionId"`
	Current    bool              `json:"current"`
	Address    string            `json:"address"`
	UserAgent  string            `json:"userAgent"`
	CreatedAt  time.Time         `json:"createdAt"`
	LastSeenAt time.Time         `json:"lastSeenAt"`
	ExpiresAt  time.Time         `json:"expiresAt"`
}

// getAccount serves GET /platform/account.
func (s *server) getAccount(c *gin.Context) error {
	p := exchangeOf(c).principal
	account, err := s.Sessions.Account(c.Request.Context(), p.UserID)
	if err != nil {
		return err
	}
	sessions, err := s.Sessions.ListSessions(c.Request.Context(), p.UserID)
	if err != nil {
		return err
	}
	shown := accountJSON{
		User: showUser(account.User), SecondFactor: account.SecondFactor, HasPassword: account.PasswordHash != "",
		Sessions: make([]accountSessionJSON, len(sessions)),
	}
	for i, sn := range sessions {
		shown.Sessions[i] = accountSessionJSON{
			SessionID: sn.ID, Current: sn.ID == p.SessionID, Address: sn.Address, UserAgent: sn.UserAgent,
			CreatedAt: sn.CreatedAt.UTC(), LastSeenAt: sn.LastSeenAt.UTC(), ExpiresAt: sn.ExpiresAt.UTC(),
		}
	}
	return writeJSON(c, http.StatusOK, shown)
}

type changePasswordRequest struct {
	CurrentPassword string `json:"currentPassword"`
	NewPassword     string `json:"newPassword"`
}

// changePassword serves POST /platform/account/password.
func (s *server) changePassword(c *gin.Context) error {
	var req changePasswordRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	if err := s.Sessions.ChangePassword(c.Request.Context(), exchangeOf(c).principal, c.ClientIP(), req.CurrentPassword, req.NewPassword); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

type enrolmentJSON struct {
	Secret string `json:"secret"`
	URL    string `json:"url"`
}

// beginSecondFactor serves POST /platform/account/second-factor.
func (s *server) beginSecondFactor(c *gin.Context) error {
	e, err := s.Sessions.BeginSecondFactor(c.Request.Context(), exchangeOf(c).principal)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusCreated, enrolmentJSON{Secret: e.Secret, URL: e.URL})
}

type codeRequest struct {
	Code string `json:"code"`
}

type recoveryCodesJSON struct {
	// RecoveryCodes are shown this once.
	RecoveryCodes []string `json:"recoveryCodes"`
}

// confirmSecondFactor serves POST /platform/account/second-factor/confirmation.
func (s *server) confirmSecondFactor(c *gin.Context) error {
	var req codeRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	codes, err := s.Sessions.ConfirmSecondFactor(c.Request.Context(), exchangeOf(c).principal, c.ClientIP(), req.Code)
	if err != nil {
		return s.refuseCode(c, err)
	}
	return writeJSON(c, http.StatusOK, recoveryCodesJSON{codes})
}

type passwordRequest struct {
	CurrentPassword string `json:"currentPassword"`
}

// removeSecondFactor serves DELETE /platform/account/second-factor.
func (s *server) removeSecondFactor(c *gin.Context) error {
	var req passwordRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	if err := s.Sessions.RemoveSecondFactor(c.Request.Context(), exchangeOf(c).principal, c.ClientIP(), req.CurrentPassword); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

// showSecondFactor serves POST /platform/session/second-factor, for a session
// that was opened without one.
func (s *server) showSecondFactor(c *gin.Context) error {
	var req codeRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	if err := s.Sessions.ShowSecondFactor(c.Request.Context(), exchangeOf(c).principal, c.ClientIP(), req.Code); err != nil {
		return s.refuseCode(c, err)
	}
	c.Status(http.StatusNoContent)
	return nil
}

// refuseCode audits a wrong code of the second factor.
func (s *server) refuseCode(c *gin.Context, err error) error {
	if tenancy.CodeOf(err) == tenancy.CodeUnauthenticated {
		return s.refuse(c, tenancy.AsError(err))
	}
	return err
}

// endAccountSession serves DELETE /platform/account/sessions/{sessionId}.
func (s *server) endAccountSession(c *gin.Context) error {
	p := exchangeOf(c).principal
	if err := s.Sessions.EndSession(c.Request.Context(), tenancy.SessionID(c.Param("sessionId")), p.UserID, p.Actor); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}
