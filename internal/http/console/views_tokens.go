package console

import "github.com/tenantry/tenantry/internal/tenancy"

// TokensPage lists API tokens and makes them.
type TokensPage struct {
	Frame
	Tokens []TokenRow
	Form   TokenForm
	Faults *Faults
	// Fresh is a token just made, shown this once.
	Fresh *FreshToken
}

func (TokensPage) template() string { return "api_tokens" }

// TokenRow is an API token in the list.
type TokenRow struct {
	tenancy.APIToken
	Expired bool
}

// TokenForm is what was typed.
type TokenForm struct {
	Name, ExpiresInDays string
	Never               bool
}

// FreshToken is a token with its secret.
type FreshToken struct{ Name, Token string }
