package tenantdb

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/url"
	"strconv"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// NewPassword returns a password of 32 random bytes in characters that stand
// unescaped in a URL.
func NewPassword() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// AppURL returns the URL the tenant's application connects with: host and port
// of the server's row, sslmode of its admin URL. It fails as Resolve does.
func (s *Servers) AppURL(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, password string) (string, error) {
	pool, err := s.pool(ctx, server)
	if err != nil {
		return "", err
	}
	u := url.URL{
		Scheme: "postgres",
		User:   url.UserPassword(slug.AppRole(), password),
		Host:   net.JoinHostPort(server.Host, strconv.Itoa(server.Port)),
		Path:   "/" + slug.DatabaseName(),
	}
	if pool.sslmode != "" {
		u.RawQuery = url.Values{"sslmode": {pool.sslmode}}.Encode()
	}
	return u.String(), nil
}

// appPassword returns the password within an application URL of the slug. Its
// errors show nothing of the URL.
func appPassword(slug tenancy.Slug, appURL string) (string, error) {
	refuse := func(why string) (string, error) {
		return "", tenancy.Errorf(tenancy.CodeInternal, "The secret %s is no usable application URL: %s.", slug.SecretName(), why)
	}
	u, err := url.Parse(appURL)
	if err != nil {
		return refuse("it cannot be parsed")
	}
	if u.User.Username() != slug.AppRole() || u.Path != "/"+slug.DatabaseName() {
		return refuse("it names another role or database")
	}
	password, _ := u.User.Password()
	if password == "" {
		return refuse("it has no password")
	}
	for _, c := range []byte(password) {
		// Beyond ASCII, client and server would have to agree on a normal form.
		if c < 0x21 || c > 0x7e {
			return refuse("its password is not printable ASCII")
		}
	}
	return password, nil
}
