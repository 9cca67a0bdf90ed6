package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/config"
)

func load(t *testing.T, vars map[string]string, required ...string) (config.Config, string) {
	t.Helper()
	c, err := config.Load(func(name string) string { return vars[name] }, required...)
	if err != nil {
		return c, err.Error()
	}
	return c, ""
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, fault := load(t, nil)
	if fault != "" {
		t.Fatal(fault)
	}
	if c.WorkerConcurrency != 10 || c.WarmPoolSize != 0 || c.HTTPAddr != ":8080" || c.LogFormat != "text" {
		t.Errorf("unexpected defaults: %+v", c)
	}
}

func TestEveryFaultIsNamedAtOnceWithoutItsValue(t *testing.T) {
	t.Parallel()
	_, fault := load(t, map[string]string{
		"REDIS_URL":          "redis://:canary-1@%zz",
		"KEY_VAULT_URL":      "http://canary-2.example",
		"TENANT_URL":         "https://canary-3.example",
		"WORKER_CONCURRENCY": "canary-4",
		"LOG_LEVEL":          "canary-5",
		"WARM_POOL_SIZE":     "101",
		"LOG_FORMAT":         "xml",
		"SMTP_URL":           "smtp://mail.example",
		"TENANT_MIGRATIONS":  "/nowhere/canary-6",
	}, "DATABASE_URL")
	for _, name := range []string{
		"DATABASE_URL", "REDIS_URL", "KEY_VAULT_URL", "TENANT_URL", "WORKER_CONCURRENCY",
		"LOG_LEVEL", "LOG_FORMAT", "MAIL_FROM", "TENANT_MIGRATIONS", "WARM_POOL_SIZE",
	} {
		if !strings.Contains(fault, name) {
			t.Errorf("the fault of %s is not named in:\n%s", name, fault)
		}
	}
	if strings.Contains(fault, "canary") {
		t.Errorf("a value is shown in:\n%s", fault)
	}
}

// What looks right at first sight and would only fail later.
func TestWhatCannotBeUsedIsAFaultOfItsVariable(t *testing.T) {
	t.Parallel()
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noPEM, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{
		"DATABASE_URL":      "postgres://u:canary@h/d?sslmode=bogus",
		"REDIS_URL":         "redis://:canary@h/nonsense",
		"KEY_VAULT_URL":     "https://canary.vault.azure.net",
		"KEY_VAULT_DEV":     "true",
		"KEY_VAULT_CA_FILE": noPEM,
		"HTTP_ADDR":         "canary",
		"METRICS_ADDR":      "127.0.0.1:99999",
		"TRUSTED_PROXIES":   "10.0.0.0/8,canary",
		"MAIL_FROM":         "canary",
	}
	_, fault := load(t, vars)
	delete(vars, "KEY_VAULT_URL") // fine by itself
	lines := strings.Split(fault, "\n")
	for name := range vars {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+" ") }) {
			t.Errorf("the fault of %s is not named in:\n%s", name, fault)
		}
	}
	if len(lines) != len(vars) || strings.Contains(fault, "canary") {
		t.Errorf("unexpected or showing a value:\n%s", fault)
	}
}

func TestPublicURLMayBeLeftOutOnLoopback(t *testing.T) {
	t.Parallel()
	for addr, fine := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:8080": true, "localhost:8080": true,
		"": false, ":8080": false, "0.0.0.0:8080": false, "10.0.0.1:8080": false, "console.example.com:80": false,
	} {
		_, fault := load(t, map[string]string{"HTTP_ADDR": addr}, "PUBLIC_URL")
		if (fault == "") != fine || !fine && fault != "PUBLIC_URL is not set" {
			t.Errorf("%q: %q", addr, fault)
		}
	}
}

func TestMailNeedsItsOtherVariables(t *testing.T) {
	t.Parallel()
	_, fault := load(t, map[string]string{"SMTP_URL": "smtp://mail.example"})
	for _, name := range []string{"MAIL_FROM", "TENANT_URL"} {
		if !strings.Contains(fault, name+" must be set along with SMTP_URL") {
			t.Errorf("the fault of %s is not named in:\n%s", name, fault)
		}
	}
	// An api has it for tenants' pages and sends no mail.
	if _, fault := load(t, map[string]string{"TENANT_URL": "https://{slug}.example.com"}); fault != "" {
		t.Error(fault)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	c, fault := load(t, map[string]string{"RESERVED_SLUGS": "billing,shop", "TRUSTED_PROXIES": "10.0.0.0/8,::1"})
	if fault != "" {
		t.Fatal(fault)
	}
	if strings.Join(c.ReservedSlugs, " ") != "billing shop" || strings.Join(c.TrustedProxies, " ") != "10.0.0.0/8 ::1" {
		t.Errorf("lists are %q and %q", c.ReservedSlugs, c.TrustedProxies)
	}
}

func TestFlagsWin(t *testing.T) {
	t.Parallel()
	getenv, err := config.Flags("api", []string{"--http-addr", ":1", "--log-format=json"}, func(name string) string {
		return map[string]string{"HTTP_ADDR": ":2", "METRICS_ADDR": ":3"}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(getenv)
	if err != nil || c.HTTPAddr != ":1" || c.MetricsAddr != ":3" || c.LogFormat != "json" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := config.Flags("api", []string{"--nonsense"}, func(string) string { return "" }); err == nil {
		t.Error("an unknown flag went through")
	}
}

func TestTenantURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tenant, public string
		fine           bool
		// reserved is the slug that would have the console's host.
		reserved string
	}{
		{"https://{slug}.example.com", "", true, ""},
		{"https://{slug}.example.com", "https://example.com", true, ""},
		{"http://{slug}.localhost:8080", "http://localhost:8080", true, ""},
		{"http://{slug}.localhost:8080", "http://127.0.0.1:8080", true, ""},
		{"https://{slug}.example.com", "https://console.example.com", true, "console"},
		{"https://{slug}.example.com", "https://CONSOLE.example.com:8443", true, "console"},
		{"http://{slug}.example.com", "", false, ""},
		{"http://localhost.{slug}.example.com", "", false, ""},
		{"https://{slug}.example.com/", "", false, ""},
		{"https://example.com/{slug}", "", false, ""},
	} {
		cfg, fault := load(t, map[string]string{"TENANT_URL": c.tenant, "PUBLIC_URL": c.public, "RESERVED_SLUGS": "billing"})
		want := []string{"billing"}
		if c.reserved != "" {
			want = append(want, c.reserved)
		}
		if (fault == "") != c.fine || fault != "" && !strings.HasPrefix(fault, "TENANT_URL ") || !slices.Equal(cfg.ReservedSlugs, want) {
			t.Errorf("%+v: %q, reserved %v", c, fault, cfg.ReservedSlugs)
		}
	}
}
