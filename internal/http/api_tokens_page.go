package http

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

const tokensPath = "/platform/api-tokens"

// usualTokenDays is what the form offers.
const usualTokenDays = "90"

// tokensPage serves the page of GET /platform/api-tokens. Like the API it is for
// sessions and API tokens alike.
func (s *server) tokensPage(c *gin.Context) error {
	tokens, err := s.Tokens.ListTokens(c.Request.Context(), reach(c))
	if err != nil {
		return err
	}
	return s.renderTokens(c, http.StatusOK, tokens, console.TokensPage{Form: console.TokenForm{ExpiresInDays: usualTokenDays}})
}

func (s *server) renderTokens(c *gin.Context, status int, tokens []tenancy.APIToken, page console.TokensPage) error {
	page.Frame = s.frame(c, "", "API tokens")
	for _, t := range tokens {
		expired := t.ExpiresAt != nil && !t.ExpiresAt.After(s.Now())
		page.Tokens = append(page.Tokens, console.TokenRow{APIToken: t, Expired: expired})
	}
	return s.render(c, status, page, "")
}

// createTokenFromPage serves the form of that page. The answer is the only page
// that ever shows the token, so nothing after its making may fail.
func (s *server) createTokenFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	tokens, err := s.Tokens.ListTokens(c.Request.Context(), reach(c))
	if err != nil {
		return err
	}
	typed := console.TokenForm{Name: values.Get("name"), ExpiresInDays: values.Get("expiresInDays"), Never: values.Get("never") != ""}
	req := createTokenRequest{Name: typed.Name}
	if !typed.Never {
		days := typedNumber(typed.ExpiresInDays)
		req.ExpiresInDays = &days
	}
	described, token, err := s.issueToken(c, req)
	if err != nil {
		faults, err := pageFaults(err)
		if err != nil {
			return err
		}
		return s.renderTokens(c, outcomes[faults.Code].status, tokens, console.TokensPage{Form: typed, Faults: faults})
	}
	return s.renderTokens(c, http.StatusCreated, append([]tenancy.APIToken{described}, tokens...), console.TokensPage{
		Form: console.TokenForm{ExpiresInDays: usualTokenDays}, Fresh: &console.FreshToken{Name: described.Name, Token: token},
	})
}

func (s *server) revokeTokenFromPage(c *gin.Context) error {
	if err := s.revoke(c); err != nil {
		return err
	}
	return redirectWith(c, tokensPath, console.NoticeTokenRevoked)
}
