package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/hibiken/asynqmon"
	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/http"
	"github.com/tenantry/tenantry/internal/placement"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// APINeeds are the variables an api cannot do without. Without KEY_VAULT_URL it
// answers, but provisions nothing; without it or TENANT_URL it serves no tenant's
// pages. PUBLIC_URL may be left out where HTTP_ADDR is a loopback address.
var APINeeds = []string{"DATABASE_URL", "REDIS_URL", "PUBLIC_URL"}

// Listen opens HTTP_ADDR.
func Listen(cfg config.Config) (net.Listener, error) {
	listener, err := net.Listen("tcp", cfg.HTTPAddr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on HTTP_ADDR: %w", err)
	}
	return listener, nil
}

// RunAPI serves the API until ctx ends, and closes the listener. Redis may be
// away: what is accepted waits in the outbox.
func RunAPI(ctx context.Context, cfg config.Config, log *slog.Logger, listener net.Listener) error {
	defer listener.Close()
	if cfg.PublicURL == "" { // HTTP_ADDR is a loopback address, as config.Load made sure
		cfg.PublicURL = "http://" + listener.Addr().String()
	}
	redis, err := openRedis(cfg, log)
	if err != nil {
		return err
	}
	defer redis.Close()
	var relay *tasks.Relay
	control, err := OpenControl(ctx, cfg, log, func() { relay.Wake() })
	if err != nil {
		return err
	}
	defer control.Close()
	relay = tasks.NewRelay(control.Store, redis, log)

	monitoring, closeMonitoring, err := openMonitoring(cfg.RedisURL)
	if err != nil {
		return err
	}
	defer closeMonitoring()
	people, closePeople, err := openTenantPeople(ctx, cfg, control.Store, log)
	if err != nil {
		return err
	}
	defer closeSoon(log, closePeople)
	handler, err := http.New(http.Config{
		Jobs: control.Store, Batches: control.Store, Tenants: control.Store, Servers: control.Store, Audit: control.Store,
		Tokens:                apiTokens{control},
		Auth:                  control.Tokens,
		Sessions:              platformSessions{control.Sessions, control.Store},
		OIDC:                  openOIDC(cfg),
		RequireMFA:            cfg.RequireMFA,
		Choose:                placement.Choose,
		PublicURL:             cfg.PublicURL,
		TenantURL:             cfg.TenantURL,
		TenantPeople:          people,
		Ready:                 func(ctx context.Context) map[string]error { return readiness(ctx, control) },
		ProvisioningAvailable: control.Vault != nil,
		Reserved:              tenancy.NewReservedSlugs(cfg.ReservedSlugs...),
		TrustedProxies:        cfg.TrustedProxies,
		DocsURL:               docsURL(cfg),
		Version:               Version,
		Monitoring:            monitoring[readWrite],
		MonitoringReadOnly:    monitoring[readOnly],
		Log:                   log,
	})
	if err != nil {
		return err
	}
	m := newMetrics()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { relay.Run(ctx); return nil })
	g.Go(func() error { return http.Serve(ctx, listener, handler, log) })
	g.Go(func() error { return m.serve(ctx, cfg.MetricsAddr, control.Store.Ping) })
	log.Info("api ready", "addr", listener.Addr().String(), "provisioning", control.Vault != nil)
	return g.Wait()
}

const (
	readWrite = iota
	readOnly
)

// openMonitoring returns Asynqmon, for those who may change the queues and for
// those who may only look.
func openMonitoring(redisURL string) (handlers [2]*asynqmon.HTTPHandler, closeAll func(), err error) {
	opt, err := config.ParseRedisURL(redisURL)
	if err != nil {
		return handlers, nil, err
	}
	for i := range handlers {
		handlers[i] = asynqmon.New(asynqmon.Options{RootPath: http.MonitoringPath, RedisConnOpt: opt, ReadOnly: i == readOnly})
	}
	return handlers, func() {
		for _, h := range handlers {
			_ = h.Close() // only idle connections
		}
	}, nil
}

// readiness is master alone: without Redis or the vault the api still accepts
// and answers.
func readiness(ctx context.Context, c *Control) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return map[string]error{"master": c.Store.Ping(ctx)}
}

// apiTokens makes tokens through auth, and lists and revokes them in master.
type apiTokens struct{ *Control }

func (t apiTokens) Create(ctx context.Context, owner tenancy.UserID, name string, expiresAt *time.Time, actor tenancy.Actor) (tenancy.APIToken, string, error) {
	return t.Tokens.Create(ctx, owner, name, expiresAt, actor)
}

func (t apiTokens) ListTokens(ctx context.Context, owner tenancy.UserID) ([]tenancy.APIToken, error) {
	return t.Store.ListTokens(ctx, owner)
}

func (t apiTokens) RevokeToken(ctx context.Context, id tenancy.TokenID, owner tenancy.UserID, actor tenancy.Actor) error {
	return t.Store.RevokeToken(ctx, id, owner, actor)
}

// platformSessions signs people in through auth, and reads what master has of
// them.
type platformSessions struct {
	*auth.Sessions
	master *store.Store
}

func (p platformSessions) Account(ctx context.Context, id tenancy.UserID) (tenancy.Account, error) {
	return p.master.Account(ctx, id)
}

func (p platformSessions) ListSessions(ctx context.Context, owner tenancy.UserID) ([]tenancy.Session, error) {
	return p.master.ListSessions(ctx, owner)
}

func (p platformSessions) EndSession(ctx context.Context, id tenancy.SessionID, owner tenancy.UserID, actor tenancy.Actor) error {
	return p.master.EndSession(ctx, id, owner, actor)
}

// openOIDC returns nil without an identity provider: an interface, since http
// compares it with nil.
func openOIDC(cfg config.Config) http.OIDC {
	if cfg.OIDCIssuer == "" {
		return nil
	}
	return auth.NewOIDC(auth.OIDCConfig{
		Issuer: cfg.OIDCIssuer, ClientID: cfg.OIDCClientID, ClientSecret: cfg.OIDCClientSecret,
		RedirectURL: strings.TrimSuffix(cfg.PublicURL, "/") + http.OIDCCallbackPath, RoleClaim: cfg.OIDCRoleClaim,
	})
}
