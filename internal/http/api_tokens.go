package http

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Tokens are the API tokens of the platform's users.
type Tokens interface {
	// Create returns the token itself as well, this once.
	Create(ctx context.Context, owner tenancy.UserID, name string, expiresAt *time.Time, actor tenancy.Actor) (tenancy.APIToken, string, error)
	// ListTokens returns owner's tokens, everyone's if owner is empty.
	ListTokens(ctx context.Context, owner tenancy.UserID) ([]tenancy.APIToken, error)
	// RevokeToken finds owner's tokens, everyone's if owner is empty, and fails
	// with CodeNotFound.
	RevokeToken(ctx context.Context, id tenancy.TokenID, owner tenancy.UserID, actor tenancy.Actor) error
}

// maxTokenDays is ten years.
const maxTokenDays = 3650

type tokenJSON struct {
	TokenID    tenancy.TokenID `json:"tokenId"`
	Name       string          `json:"name"`
	Owner      userJSON        `json:"owner"`
	CreatedAt  time.Time       `json:"createdAt"`
	ExpiresAt  *time.Time      `json:"expiresAt"`
	LastUsedAt *time.Time      `json:"lastUsedAt"`
}

type userJSON struct {
	PlatformUserID tenancy.UserID `json:"platformUserId"`
	Email          string         `json:"email"`
	DisplayName    string         `json:"displayName"`
	Role           tenancy.Role   `json:"role"`
}

// createdTokenJSON is the only answer that ever has the token.
type createdTokenJSON struct {
	tokenJSON
	Token string `json:"token"`
}

func showToken(t tenancy.APIToken) tokenJSON {
	return tokenJSON{
		TokenID: t.ID, Name: t.Name,
		Owner: userJSON{
			PlatformUserID: t.Owner.ID, Email: t.Owner.Email, DisplayName: t.Owner.DisplayName, Role: t.Owner.Role,
		},
		CreatedAt: t.CreatedAt.UTC(), ExpiresAt: utc(t.ExpiresAt), LastUsedAt: utc(t.LastUsedAt),
	}
}

// reach is whose tokens the caller sees: their own, or everyone's for an admin.
func reach(c *gin.Context) tenancy.UserID {
	p := exchangeOf(c).principal
	if p.Role == tenancy.RoleAdmin {
		return ""
	}
	return p.UserID
}

// listTokens serves GET /platform/api-tokens.
func (s *server) listTokens(c *gin.Context) error {
	tokens, err := s.Tokens.ListTokens(c.Request.Context(), reach(c))
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, newList(tokens, "", showToken))
}

type createTokenRequest struct {
	Name          string  `json:"name"`
	ExpiresAt     *string `json:"expiresAt"`
	ExpiresInDays *int    `json:"expiresInDays"`
}

// expiry returns when the token expires, nil for never.
func (r createTokenRequest) expiry(f *faults, now time.Time) *time.Time {
	switch {
	case r.ExpiresAt != nil && r.ExpiresInDays != nil:
		f.Add("/expiresInDays", faultInvalid, "Give expiresAt or expiresInDays, not both.")
	case r.ExpiresAt != nil:
		at, err := time.Parse(time.RFC3339, *r.ExpiresAt)
		if err != nil || !at.After(now) {
			f.Add("/expiresAt", faultInvalid, "This must be an RFC 3339 time in the future.")
		}
		return &at
	case r.ExpiresInDays != nil:
		if *r.ExpiresInDays < 1 || *r.ExpiresInDays > maxTokenDays {
			f.Add("/expiresInDays", faultInvalid, "This must be a number from 1 to %d.", maxTokenDays)
		}
		at := now.AddDate(0, 0, *r.ExpiresInDays)
		return &at
	}
	return nil
}

// createToken serves POST /platform/api-tokens: a token for the caller.
func (s *server) createToken(c *gin.Context) error {
	var req createTokenRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	described, token, err := s.issueToken(c, req)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusCreated, createdTokenJSON{tokenJSON: showToken(described), Token: token})
}

func (s *server) issueToken(c *gin.Context, req createTokenRequest) (described tenancy.APIToken, token string, err error) {
	var f faults
	name := f.Text("/name", req.Name, tenancy.MaxTokenName)
	expiresAt := req.expiry(&f, s.Now())
	if err := f.Err(); err != nil {
		return tenancy.APIToken{}, "", err
	}
	who := actor(c)
	return s.Tokens.Create(c.Request.Context(), who.UserID, name, expiresAt, who)
}

// revokeToken serves DELETE /platform/api-tokens/{tokenId}.
func (s *server) revokeToken(c *gin.Context) error {
	if err := s.revoke(c); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

func (s *server) revoke(c *gin.Context) error {
	id := c.Param("tokenId")
	if !isID(id) {
		return tenancy.Errorf(tenancy.CodeNotFound, "No API token can have this id.")
	}
	return s.Tokens.RevokeToken(c.Request.Context(), tenancy.TokenID(id), reach(c), actor(c))
}
