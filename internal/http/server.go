package http

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// defaultDocsURL is where this API itself serves the page of each Code.
const defaultDocsURL = "/docs/errors/"

// Authenticator tells who a token stands for.
type Authenticator interface {
	// Authenticate fails with CodeUnauthenticated if nobody has the token.
	Authenticate(ctx context.Context, token string) (tenancy.Principal, error)
	// AuthenticateWatcher is Authenticate and the version of the job that the caller
	// polls, nil if there is none.
	AuthenticateWatcher(ctx context.Context, token string, watched tenancy.JobID) (tenancy.Principal, *tenancy.JobVersion, error)
}

// Config is what the API works with. Every field without a remark is needed.
type Config struct {
	Jobs    Jobs
	Batches Batches
	Tenants Tenants
	Servers Servers
	Tokens  Tokens
	Audit   Audit
	Auth    Authenticator
	// Sessions knows signed-in people. Nil means that there are only API tokens.
	Sessions Sessions
	// OIDC is nil without an identity provider.
	OIDC OIDC
	// Choose is where auto-placement would put a tenant now; it fails with
	// CodeNoCapacity.
	Choose func(loads []tenancy.ServerLoad, name string) (tenancy.DBServer, error)
	// RequireMFA has admins show a second factor.
	RequireMFA bool
	// PublicURL is where people reach this API; https makes cookies secure.
	PublicURL string
	// TenantURL is where a tenant's people reach it, with {slug} in it.
	TenantURL string
	// TenantPeople serves tenants' own pages at TenantURL. Nil means that there
	// are none.
	TenantPeople TenantPeople

	// Ready asks each dependency, by name, whether it answers. Nil means that
	// there is none.
	Ready func(ctx context.Context) map[string]error
	// ProvisioningAvailable says that there is a vault to provision with.
	ProvisioningAvailable bool
	// Reserved are the slugs no tenant may take.
	Reserved tenancy.ReservedSlugs
	// TrustedProxies are the addresses and networks whose X-Forwarded-For is
	// believed. Empty means nobody's.
	TrustedProxies []string
	// DocsURL is what a Code is appended to for its page. Empty means this API's
	// own, as a relative reference.
	DocsURL string
	Version string
	// Monitoring and MonitoringReadOnly are Asynqmon, rooted at MonitoringPath.
	// Nil means that there is none.
	Monitoring, MonitoringReadOnly http.Handler
	// Log is where requests and causes go. Nil means nowhere.
	Log *slog.Logger
	// Now is the clock. Nil means the system's.
	Now func() time.Time
}

type server struct {
	Config
	// site is TenantURL, zero if there are no tenants' pages.
	site        tenancy.TenantURL
	crossOrigin *http.CrossOriginProtection
	limits      limits
	shown       *lru.Cache[tenancy.JobID, shownJob]
}

// New returns the API and the pages. It fails if TrustedProxies or, with
// TenantPeople, TenantURL cannot be parsed.
func New(cfg Config) (http.Handler, error) {
	s := newServer(cfg)
	engine, err := s.engine()
	if err != nil {
		return nil, err
	}
	platform := formMethod(engine)
	if s.TenantPeople == nil {
		return platform, nil
	}
	return s.withTenantSite(platform)
}

func newServer(cfg Config) *server {
	cfg.DocsURL = strings.TrimSuffix(cmp.Or(cfg.DocsURL, defaultDocsURL), "/") + "/"
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &server{Config: cfg, crossOrigin: http.NewCrossOriginProtection(), limits: newLimits(cfg.Now), shown: newShownJobs()}
}

func (s *server) engine() (*gin.Engine, error) {
	engine, err := s.newEngine(s.observe, s.recoverPanic, s.protect)
	if err != nil {
		return nil, err
	}
	for _, r := range append(s.routes(), s.pages()...) {
		engine.Handle(r.method, r.path, s.serve(r))
		if r.method == http.MethodGet {
			engine.HEAD(r.path, s.serve(r)) // whose body net/http leaves out
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		engine.Handle(method, console.AssetsPath+"*path", gin.WrapH(console.Assets()))
	}
	return engine, nil
}

// newEngine returns an engine without routes, which answers every request
// through use.
func (s *server) newEngine(use ...gin.HandlerFunc) (*gin.Engine, error) {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	if err := engine.SetTrustedProxies(s.TrustedProxies); err != nil {
		return nil, fmt.Errorf("cannot use TRUSTED_PROXIES: %w", err)
	}
	// One path names one thing: no redirects to a likely one, and an escaped
	// slash is part of a name.
	engine.RedirectTrailingSlash = false
	engine.UseRawPath = true
	engine.HandleMethodNotAllowed = true
	engine.Use(use...)
	engine.NoRoute(func(c *gin.Context) {
		s.answerError(c, nothingHere())
	})
	engine.NoMethod(func(c *gin.Context) {
		s.answerError(c, withStatus(http.StatusMethodNotAllowed,
			tenancy.Errorf(tenancy.CodeInvalidRequest, "The method %s is not allowed here.", c.Request.Method)))
	})
	return engine, nil
}

func nothingHere() error {
	return tenancy.Errorf(tenancy.CodeNotFound, "There is nothing at this address.")
}
