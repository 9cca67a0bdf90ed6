package tenancy

import (
	"fmt"
	"regexp"
	"strings"
)

// SlugPattern is the runbook's rule for slugs.
const SlugPattern = `^[a-z][a-z0-9-]{2,39}$`

var slugRegexp = regexp.MustCompile(SlugPattern)

// defaultReservedSlugs are subdomains and names a tenant may not take: the
// platform's own list, and names that mean something to DNS, Postgres or us.
var defaultReservedSlugs = []string{
	"admin", "api", "app", "ops", "www", "static", "docs", "master", "platform", "health",
	"new", "auth", "login", "mail", "monitoring", "postgres", "template0", "template1",
	"azure", "internal", "status", "support",
}

// ReservedSlugs is a set of slugs no tenant may take.
type ReservedSlugs map[string]bool

// NewReservedSlugs returns the built-in reserved slugs and the given ones.
func NewReservedSlugs(more ...string) ReservedSlugs {
	r := make(ReservedSlugs, len(defaultReservedSlugs)+len(more))
	for _, s := range defaultReservedSlugs {
		r[s] = true
	}
	for _, s := range more {
		if s = strings.ToLower(strings.TrimSpace(s)); s != "" {
			r[s] = true
		}
	}
	return r
}

// Slug is a tenant's name: its subdomain, and the root of the name of
// everything outside that belongs to it.
type Slug string

// ParseSlug returns s as a Slug, or CodeInvalidSlug with a message that says
// which rule it breaks. A slug becomes a DNS label, hence the rules beyond
// SlugPattern.
func ParseSlug(s string, reserved ReservedSlugs) (Slug, error) {
	invalid := func(why string) (Slug, error) {
		return "", &Error{Code: CodeInvalidSlug, Message: why}
	}
	switch {
	case !slugRegexp.MatchString(s):
		return invalid("A slug has 3 to 40 lowercase letters, digits and hyphens and begins with a letter (" + SlugPattern + ").")
	case strings.HasSuffix(s, "-"):
		return invalid("A slug may not end with a hyphen, because it becomes a DNS label.")
	case strings.HasPrefix(s, "xn--"):
		return invalid("A slug may not begin with xn--, because DNS reserves it for internationalised names.")
	case reserved[s]:
		return invalid(fmt.Sprintf("The slug %q is reserved.", s))
	}
	return Slug(s), nil
}

func (s Slug) String() string { return string(s) }

// The names below follow from the slug alone. Slugs have no underscore, so the
// mapping is one to one, and the longest name (53 bytes) is below the 63 at
// which Postgres truncates silently.

// DatabaseName is the tenant's database.
func (s Slug) DatabaseName() string {
	return "tenant_" + strings.ReplaceAll(string(s), "-", "_")
}

// OwnerRole owns the tenant's database and, unless that is a copy of a template,
// everything in it. It cannot log in.
func (s Slug) OwnerRole() string { return s.DatabaseName() + "_owner" }

// AppRole is the login the tenant's application uses: data only.
func (s Slug) AppRole() string { return s.DatabaseName() + "_app" }

// SecretName is the Key Vault secret that holds the application role's URL.
func (s Slug) SecretName() string { return "tenant-db-" + string(s) }
