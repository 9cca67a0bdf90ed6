package tenancy

import (
	"errors"
	"net/url"
	"strings"
)

// slugPlaceholder stands for the slug in TENANT_URL.
const slugPlaceholder = "{slug}"

// TenantURL is where tenants' people come in: an address whose host has a
// tenant's slug in it. The zero TenantURL is nobody's.
type TenantURL struct{ scheme, before, after, port string }

// ParseTenantURL reads an address such as https://{slug}.example.com. The error
// says what is wrong without quoting it.
func ParseTenantURL(s string) (TenantURL, error) {
	if strings.Count(s, slugPlaceholder) != 1 {
		return TenantURL{}, errors.New("must contain {slug} once")
	}
	u, err := url.Parse(strings.Replace(s, slugPlaceholder, "slug", 1))
	switch {
	case err != nil:
		return TenantURL{}, errors.New("is no valid URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return TenantURL{}, errors.New("must begin with http:// or https://")
	}
	_, rest, _ := strings.Cut(s, "://")
	before, after, _ := strings.Cut(rest, slugPlaceholder)
	after, port, _ := strings.Cut(after, ":")
	switch {
	case strings.ContainsAny(before+after+port, "/?#@:[]"):
		return TenantURL{}, errors.New("must be scheme, host and port alone, with {slug} in the host")
	case !strings.Contains(after, "."):
		return TenantURL{}, errors.New("must have a domain after {slug}")
	}
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	return TenantURL{scheme: u.Scheme, before: strings.ToLower(before), after: strings.ToLower(after), port: port}, nil
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// Secure reports whether people come over TLS.
func (u TenantURL) Secure() bool { return u.scheme == "https" }

// Domain is what stands behind the slug in the host's name.
func (u TenantURL) Domain() string { return strings.TrimPrefix(u.after, ".") }

// Slug returns the slug in the Host of a request, "" unless it is a tenant's:
// the address as it stands, with a valid slug that is not reserved in its place.
// Letters' case and the scheme's own port make no difference.
func (u TenantURL) Slug(host string, reserved ReservedSlugs) Slug {
	port := defaultPorts[u.scheme]
	if name, given, ok := strings.Cut(host, ":"); ok {
		host, port = name, given
	}
	if u.port == "" || port != u.port {
		return ""
	}
	return u.SlugOfName(host, reserved)
}

// SlugOfName is Slug for a host's name, whatever the port.
func (u TenantURL) SlugOfName(name string, reserved ReservedSlugs) Slug {
	name = strings.ToLower(name)
	if u.after == "" || len(name) <= len(u.before)+len(u.after) || !strings.HasPrefix(name, u.before) || !strings.HasSuffix(name, u.after) {
		return ""
	}
	slug, err := ParseSlug(name[len(u.before):len(name)-len(u.after)], reserved)
	if err != nil {
		return ""
	}
	return slug
}
