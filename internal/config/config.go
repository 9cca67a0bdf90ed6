// Package config reads the environment. Every fault is found at once and named
// by its variable; no value that may hold a password is ever part of an error.
package config

import (
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Config is what the processes are told from outside. docs/configuration.md
// describes each variable.
type Config struct {
	DatabaseURL       string     `env:"DATABASE_URL"`
	RedisURL          string     `env:"REDIS_URL"`
	KeyVaultURL       string     `env:"KEY_VAULT_URL"`
	KeyVaultCAFile    string     `env:"KEY_VAULT_CA_FILE"`
	KeyVaultDev       bool       `env:"KEY_VAULT_DEV"`
	HTTPAddr          string     `env:"HTTP_ADDR" envDefault:":8080"`
	MetricsAddr       string     `env:"METRICS_ADDR"`
	PublicURL         string     `env:"PUBLIC_URL"`
	TenantURL         string     `env:"TENANT_URL"`
	TenantMigrations  string     `env:"TENANT_MIGRATIONS"`
	BackupDir         string     `env:"BACKUP_DIR"`
	RequireMFA        bool       `env:"REQUIRE_MFA"`
	OIDCIssuer        string     `env:"OIDC_ISSUER"`
	OIDCClientID      string     `env:"OIDC_CLIENT_ID"`
	OIDCClientSecret  string     `env:"OIDC_CLIENT_SECRET"`
	OIDCRoleClaim     string     `env:"OIDC_ROLE_CLAIM"`
	SMTPURL           string     `env:"SMTP_URL"`
	MailFrom          string     `env:"MAIL_FROM"`
	WorkerConcurrency int        `env:"WORKER_CONCURRENCY" envDefault:"10"`
	WarmPoolSize      int        `env:"WARM_POOL_SIZE" envDefault:"0"`
	ReservedSlugs     []string   `env:"RESERVED_SLUGS"`
	TrustedProxies    []string   `env:"TRUSTED_PROXIES"`
	LogLevel          slog.Level `env:"LOG_LEVEL" envDefault:"INFO"`
	LogFormat         string     `env:"LOG_FORMAT" envDefault:"text"`
}

// Load reads the variables through getenv and checks them. The required ones
// must be set, but for PUBLIC_URL where HTTP_ADDR is a loopback address: it is that
// address then. The error joins every fault.
func Load(getenv func(string) string, required ...string) (Config, error) {
	var c Config
	fields, err := env.GetFieldParams(&c)
	if err != nil {
		return c, fmt.Errorf("cannot read the configuration: %w", err)
	}
	environment := make(map[string]string)
	for _, f := range fields {
		if v := getenv(f.Key); v != "" {
			environment[f.Key] = v
		}
	}
	var faults []error
	if err := env.ParseWithOptions(&c, env.Options{Environment: environment}); err != nil {
		faults = append(faults, parseFaults(err)...)
	}
	for _, name := range required {
		if environment[name] == "" && (name != "PUBLIC_URL" || !c.listensHere()) {
			faults = append(faults, fmt.Errorf("%s is not set", name))
		}
	}
	return c, errors.Join(append(faults, c.check()...)...)
}

// Flags lets a command take each variable as a flag too, HTTP_ADDR as
// --http-addr: it parses args and returns a getenv in which a flag wins.
func Flags(program string, args []string, getenv func(string) string) (func(string) string, error) {
	var c Config
	fields, err := env.GetFieldParams(&c)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	set := flag.NewFlagSet(program, flag.ContinueOnError)
	given := make(map[string]string)
	for _, f := range fields {
		set.Func(FlagName(f.Key), "overrides $"+f.Key, func(value string) error {
			given[f.Key] = value
			return nil
		})
	}
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("%s takes no arguments besides its flags", program)
	}
	return func(name string) string {
		if value, ok := given[name]; ok {
			return value
		}
		return getenv(name)
	}, nil
}

// FlagName is the flag of a variable.
func FlagName(variable string) string { return strings.ReplaceAll(strings.ToLower(variable), "_", "-") }

// parseFaults names the variables that do not parse, without their values.
func parseFaults(err error) []error {
	aggregate, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return []error{errors.New("the environment cannot be parsed")}
	}
	var faults []error
	for _, e := range aggregate.Errors {
		name := "a variable"
		if p, ok := errors.AsType[env.ParseError](e); ok {
			name = variableOf(p.Name)
			faults = append(faults, fmt.Errorf("%s is not a valid %s", name, p.Type))
			continue
		}
		faults = append(faults, fmt.Errorf("%s cannot be parsed", name))
	}
	return faults
}

func variableOf(field string) string {
	f, ok := reflect.TypeFor[Config]().FieldByName(field)
	if !ok {
		return field
	}
	return f.Tag.Get("env")
}

func (c *Config) check() []error {
	var faults []error
	fault := func(name, why string) { faults = append(faults, fmt.Errorf("%s %s", name, why)) }
	// checkURL reports whether there is a URL without a fault.
	checkURL := func(name, value string, schemes ...string) bool {
		if value == "" {
			return false
		}
		u, err := url.Parse(value)
		switch {
		case err != nil:
			fault(name, "is no valid URL")
		case !slices.Contains(schemes, u.Scheme):
			fault(name, "must begin with "+strings.Join(schemes, ":// or ")+"://")
		case u.Host == "" && u.Scheme != "redis-socket":
			fault(name, "names no host")
		default:
			return true
		}
		return false
	}
	if checkURL("DATABASE_URL", c.DatabaseURL, "postgres", "postgresql") {
		if _, err := pgxpool.ParseConfig(c.DatabaseURL); err != nil {
			fault("DATABASE_URL", "has a part or a parameter that Postgres' client does not take")
		}
	}
	if checkURL("REDIS_URL", c.RedisURL, "redis", "rediss", "redis-socket", "redis-sentinel") {
		if _, err := ParseRedisURL(c.RedisURL); err != nil {
			fault("REDIS_URL", "has a part or a parameter that Redis' client does not take")
		}
	}
	checkURL("KEY_VAULT_URL", c.KeyVaultURL, "https")
	if u, err := url.Parse(c.KeyVaultURL); err == nil && c.KeyVaultDev && inAzure(u.Hostname()) {
		fault("KEY_VAULT_DEV", "must not be set for a vault in Azure")
	}
	for name, addr := range map[string]string{"HTTP_ADDR": c.HTTPAddr, "METRICS_ADDR": c.MetricsAddr} {
		if addr != "" && !isAddress(addr) {
			fault(name, "is no address to listen on, such as :8080")
		}
	}
	for _, p := range c.TrustedProxies {
		_, notOne := netip.ParseAddr(p)
		if _, err := netip.ParsePrefix(p); err != nil && notOne != nil {
			fault("TRUSTED_PROXIES", "must be addresses and networks, such as 10.0.0.0/8")
			break
		}
	}
	checkURL("PUBLIC_URL", c.PublicURL, "http", "https")
	if u, err := url.Parse(c.PublicURL); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		fault("PUBLIC_URL", "must begin with https://: over plain http a session can be taken by whoever listens")
	}
	checkURL("OIDC_ISSUER", c.OIDCIssuer, "http", "https")
	if u, err := url.Parse(c.OIDCIssuer); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		fault("OIDC_ISSUER", "must begin with https://: over plain http anybody on the way can be anybody")
	}
	if c.OIDCIssuer != "" && (c.OIDCClientID == "" || c.OIDCClientSecret == "") {
		fault("OIDC_ISSUER", "needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET")
	}
	checkURL("SMTP_URL", c.SMTPURL, "smtp", "smtps")
	if c.TenantURL != "" {
		if why := c.checkTenantURL(); why != "" {
			fault("TENANT_URL", why)
		}
	}
	paths := map[string]string{
		"KEY_VAULT_CA_FILE": c.KeyVaultCAFile, "TENANT_MIGRATIONS": c.TenantMigrations, "BACKUP_DIR": c.BackupDir,
	}
	for name, path := range paths {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			fault(name, "names nothing that can be read")
		case info.IsDir() == (name == "KEY_VAULT_CA_FILE"):
			fault(name, "names a file where a directory is expected, or the other way round")
		case !info.IsDir() && !hasCertificate(path):
			fault(name, "holds no certificate in PEM")
		}
	}
	if _, err := mail.ParseAddress(c.MailFrom); err != nil && c.MailFrom != "" {
		fault("MAIL_FROM", "is no e-mail address, such as Example <no-reply@example.com>")
	}
	if c.SMTPURL != "" && c.MailFrom == "" {
		fault("MAIL_FROM", "must be set along with SMTP_URL")
	}
	if c.SMTPURL != "" && c.TenantURL == "" {
		fault("TENANT_URL", "must be set along with SMTP_URL: the links in mails begin with it")
	}
	if c.WorkerConcurrency < 1 || c.WorkerConcurrency > 1000 {
		fault("WORKER_CONCURRENCY", "must be between 1 and 1000")
	}
	if c.WarmPoolSize < 0 || c.WarmPoolSize > 100 {
		fault("WARM_POOL_SIZE", "must be between 0 and 100")
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		fault("LOG_FORMAT", "must be text or json")
	}
	return faults
}

// checkTenantURL says what is wrong with TENANT_URL, "" if nothing is, and
// reserves the slug whose host would be the console's.
func (c *Config) checkTenantURL() string {
	u, err := tenancy.ParseTenantURL(c.TenantURL)
	if err != nil {
		return err.Error()
	}
	if !u.Secure() && !loopback(u.Domain()) {
		return "must begin with https://: over plain http a session can be taken by whoever listens"
	}
	// The name that would take PUBLIC_URL's host is nobody's. Ports keep no cookie
	// apart, so the name alone counts.
	if public, err := url.Parse(c.PublicURL); err == nil {
		if taken := u.SlugOfName(public.Hostname(), nil); taken != "" {
			c.ReservedSlugs = append(c.ReservedSlugs, string(taken))
		}
	}
	return ""
}

// hasCertificate reports whether a file can be read as certificates to trust.
func hasCertificate(path string) bool {
	pem, err := os.ReadFile(path)
	return err == nil && x509.NewCertPool().AppendCertsFromPEM(pem)
}

// isAddress reports whether addr is a host, which may be empty, and a port.
func isAddress(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	_, err = net.LookupPort("tcp", port)
	return err == nil
}

// listensHere reports whether HTTP_ADDR can be reached from this machine alone.
func (c *Config) listensHere() bool {
	host, _, err := net.SplitHostPort(c.HTTPAddr)
	return err == nil && loopback(host)
}

// inAzure reports whether a host is in a domain of one of Azure's clouds.
func inAzure(host string) bool {
	return slices.ContainsFunc([]string{".azure.net", ".azure.cn", ".usgovcloudapi.net", ".microsoftazure.de"}, func(domain string) bool {
		return strings.HasSuffix(strings.ToLower(host), domain)
	})
}

// loopback reports whether a host is this machine (RFC 6761 for the names).
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
