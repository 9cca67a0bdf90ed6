package auth

import (
	"cmp"
	"context"
	"crypto/subtle"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// oidcTimeout bounds one conversation with the provider.
const oidcTimeout = 10 * time.Second

// OIDCConfig names an OpenID Connect provider and who we are to it.
type OIDCConfig struct {
	Issuer, ClientID, ClientSecret string
	// RedirectURL is where the provider sends people back.
	RedirectURL string
	// RoleClaim is the claim of the ID token that has the role, or a list of which
	// the highest counts. Empty means roles or, without one, groups.
	RoleClaim string
}

// OIDC signs people in through a provider: authorization code with PKCE. The
// provider is asked for its endpoints when first needed, and may be away before.
type OIDC struct {
	cfg    OIDCConfig
	client *http.Client

	mu       sync.Mutex
	provider *oidc.Provider
	scopes   []string
}

// NewOIDC returns a client of the provider; it does not connect.
func NewOIDC(cfg OIDCConfig) *OIDC {
	return &OIDC{cfg: cfg, client: &http.Client{Timeout: oidcTimeout}}
}

// Begin returns where to send the person; fresh has them prove who they are once
// more, although the provider knows them. It fails with
// CodeDependencyUnavailable if the provider does not answer.
func (o *OIDC) Begin(ctx context.Context, fresh bool) (string, tenancy.SignInFlow, error) {
	provider, err := o.discover(ctx)
	if err != nil {
		return "", tenancy.SignInFlow{}, err
	}
	f := tenancy.SignInFlow{State: NewToken(), Nonce: NewToken(), Verifier: oauth2.GenerateVerifier(), Fresh: fresh}
	options := []oauth2.AuthCodeOption{oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)}
	if fresh {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	return o.oauth(provider).AuthCodeURL(f.State, options...), f, nil
}

// Finish turns what the provider sent back into an identity, and says whether it
// saw a second factor. It fails with CodeUnauthenticated if that does not belong
// to the flow, and with CodeForbidden if the provider gives the person no role.
func (o *OIDC) Finish(ctx context.Context, f tenancy.SignInFlow, state, code string) (id tenancy.ExternalIdentity, secondFactor bool, err error) {
	if f.State == "" || subtle.ConstantTimeCompare([]byte(f.State), []byte(state)) != 1 {
		return id, false, notThisFlow(nil)
	}
	provider, err := o.discover(ctx)
	if err != nil {
		return id, false, err
	}
	ctx = oidc.ClientContext(ctx, o.client)
	token, err := o.oauth(provider).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return id, false, notThisFlow(err)
	}
	raw, _ := token.Extra("id_token").(string)
	verified, err := provider.Verifier(&oidc.Config{ClientID: o.cfg.ClientID}).Verify(ctx, raw)
	if err != nil {
		return id, false, notThisFlow(err)
	}
	if subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(f.Nonce)) != 1 {
		return id, false, notThisFlow(nil)
	}
	id, secondFactor, err = o.identity(verified)
	if err == nil && f.Fresh && time.Since(id.AuthenticatedAt) > freshness {
		return id, false, tenancy.Errorf(tenancy.CodeForbidden, "The identity provider did not ask you once more who you are.")
	}
	return id, secondFactor, err
}

func (o *OIDC) identity(token *oidc.IDToken) (id tenancy.ExternalIdentity, secondFactor bool, err error) {
	var claims struct {
		Email         string   `json:"email"`
		EmailVerified bool     `json:"email_verified"`
		Name          string   `json:"name"`
		AuthTime      int64    `json:"auth_time"`
		AMR           []string `json:"amr"`
	}
	all := make(map[string]any)
	if err := token.Claims(&claims); err != nil {
		return id, false, notThisFlow(err)
	}
	if err := token.Claims(&all); err != nil {
		return id, false, notThisFlow(err)
	}
	id = tenancy.ExternalIdentity{
		Issuer: token.Issuer, Subject: token.Subject, Email: claims.Email, EmailVerified: claims.EmailVerified,
		DisplayName: claims.Name,
	}
	if claims.AuthTime > 0 {
		id.AuthenticatedAt = time.Unix(claims.AuthTime, 0)
	}
	if o.cfg.RoleClaim != "" {
		id.Role = highestRole(all[o.cfg.RoleClaim])
	} else {
		id.Role = cmp.Or(highestRole(all["roles"]), highestRole(all["groups"]))
	}
	if id.DisplayName == "" {
		id.DisplayName = id.Email
	}
	if id.Email == "" || id.Role == "" {
		return id, false, tenancy.Errorf(tenancy.CodeForbidden, "The identity provider gives this person no role on the platform.")
	}
	// RFC 8176 names the methods.
	secondFactor = slices.ContainsFunc(claims.AMR, func(m string) bool { return m == "mfa" || m == "otp" || m == "hwk" })
	return id, secondFactor, nil
}

// highestRole reads a claim that is a role or a list with roles among others.
func highestRole(claim any) tenancy.Role {
	given := []any{claim}
	if list, ok := claim.([]any); ok {
		given = list
	}
	for _, role := range []tenancy.Role{tenancy.RoleAdmin, tenancy.RoleSupport, tenancy.RoleReadOnly} {
		if slices.Contains(given, any(string(role))) {
			return role
		}
	}
	return ""
}

func (o *OIDC) discover(ctx context.Context) (*oidc.Provider, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.provider != nil {
		return o.provider, nil
	}
	// The provider's keys are fetched long after the request that came first.
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), o.client)
	provider, err := oidc.NewProvider(ctx, o.cfg.Issuer)
	if err != nil {
		return nil, tenancy.Unavailable(err, "The identity provider does not answer.")
	}
	var metadata struct {
		Scopes []string `json:"scopes_supported"`
	}
	if err := provider.Claims(&metadata); err != nil {
		return nil, tenancy.Unavailable(err, "The identity provider does not describe itself.")
	}
	o.scopes = []string{oidc.ScopeOpenID, "email", "profile"}
	if slices.Contains(metadata.Scopes, "groups") { // some give the claim only when asked
		o.scopes = append(o.scopes, "groups")
	}
	o.provider = provider
	return provider, nil
}

func (o *OIDC) oauth(provider *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: o.cfg.ClientID, ClientSecret: o.cfg.ClientSecret, RedirectURL: o.cfg.RedirectURL,
		Endpoint: provider.Endpoint(), Scopes: o.scopes,
	}
}

func notThisFlow(err error) error {
	return tenancy.Wrap(tenancy.CodeUnauthenticated, err, "The identity provider's answer does not fit: begin to sign in again.")
}
