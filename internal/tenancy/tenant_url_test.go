package tenancy_test

import (
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestTenantURLNamesTenantsByTheirHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		url, host string
		want      tenancy.Slug
	}{
		{"https://{slug}.example.com", "acme.example.com", "acme"},
		{"https://{slug}.example.com", "ACME.Example.COM", "acme"},
		{"https://{slug}.example.com", "acme.example.com:443", "acme"},
		{"https://{slug}.example.com:443", "acme.example.com", "acme"},
		{"https://{SLUG}.example.com", "acme.example.com", ""},
		{"https://{slug}.Example.com", "acme.example.com", "acme"},
		{"https://{slug}.example.com", "a-b-1.example.com", "a-b-1"},
		{"https://app-{slug}.example.com", "app-acme.example.com", "acme"},
		{"https://{slug}-app.example.com:8443", "acme-app.example.com:8443", "acme"},
		{"http://{slug}.localhost:8080", "acme.localhost:8080", "acme"},
		{"http://{slug}.localhost", "acme.localhost:80", "acme"},

		{"https://{slug}.example.com", "acme.example.com:8443", ""},
		{"https://{slug}.example.com", "acme.example.com:80", ""},
		{"https://{slug}.example.com", "acme.example.com:", ""},
		{"https://{slug}.example.com", "acme.example.com:443:443", ""},
		{"http://{slug}.localhost:8080", "acme.localhost", ""},
		{"https://{slug}.example.com:8443", "acme.example.com", ""},
		{"https://{slug}.example.com", "", ""},
		{"https://{slug}.example.com", "example.com", ""},
		{"https://{slug}.example.com", ".example.com", ""},
		{"https://{slug}.example.com", "www.example.com", ""},
		{"https://{slug}.example.com", "ab.example.com", ""},
		{"https://{slug}.example.com", "-acme.example.com", ""},
		{"https://{slug}.example.com", "acme-.example.com", ""},
		{"https://{slug}.example.com", "xn--acme.example.com", ""},
		{"https://{slug}.example.com", "x.acme.example.com", ""},
		{"https://{slug}.example.com", "acme.example.com.", ""},
		{"https://{slug}.example.com", "acme.example.com.evil.test", ""},
		{"https://{slug}.example.com", "evil.test/acme.example.com", ""},
		{"https://{slug}.example.com", "acme@evil.example.com", ""},
		{"https://{slug}.example.com", " acme.example.com", ""},
		{"https://{slug}.example.com", "acme.example.com evil", ""},
		{"https://{slug}.example.com", "acmé.example.com", ""},
		{"https://{slug}.example.com", "acme\x00.example.com", ""},
		{"https://{slug}.example.com", "acmeexample.com", ""},
		{"https://app-{slug}.example.com", "app-.example.com", ""},
		{"https://app-{slug}.example.com", "acme.example.com", ""},
	} {
		u, err := tenancy.ParseTenantURL(c.url)
		if err != nil && c.want != "" {
			t.Errorf("ParseTenantURL(%q): %v", c.url, err)
		}
		if got := u.Slug(c.host, tenancy.NewReservedSlugs()); got != c.want {
			t.Errorf("at %s the host %q is %q's, want %q's", c.url, c.host, got, c.want)
		}
	}
}

func TestWhatIsNoTenantURL(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "https://example.com", "https://{slug}.{slug}.example.com", "ftp://{slug}.example.com", "{slug}.example.com",
		"https://example.com/{slug}", "https://example.com?t={slug}", "https://{slug}.example.com/", "https://{slug}.example.com/app",
		"https://{slug}.example.com?x", "https://{slug}.example.com#x", "https://{slug}@example.com", "https://me@{slug}.example.com",
		"https://{slug}", "https://{slug}:443", "https://{slug}.example.com:x", "https://[{slug}.1]", "https://{slug}.exa mple.com",
		"{slug}://a.example.com", "https://a.example.com:{slug}.1",
	} {
		if u, err := tenancy.ParseTenantURL(s); err == nil {
			t.Errorf("%q is taken as %+v", s, u)
		}
	}
	if got := (tenancy.TenantURL{}).Slug("acme", nil); got != "" {
		t.Errorf("without an address a host is %q's", got)
	}
}
