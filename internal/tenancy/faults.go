package tenancy

import (
	"fmt"
	"math"
	"net/mail"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What may be wrong with a field, beside CodeInvalidSlug and CodeDBServerNotFound.
const (
	FaultRequired Code = "required"
	FaultInvalid  Code = "invalid"
)

// The longest values, in characters but for MaxEmail's bytes, and the largest.
const (
	MaxDisplayName = 200
	MaxReason      = 500
	MaxRegion      = 100
	MaxTokenName   = 100
	// MaxParameter is for what a list is searched by. The longest cursor is well below.
	MaxParameter = 254
	// MaxEmail is the longest address SMTP delivers to.
	MaxEmail = 254
	// MaxPage is the most a page of a list has.
	MaxPage = 200
	// MaxRetentionDays is ten years.
	MaxRetentionDays = 3650
)

// The rules of identity.db_server.
var (
	serverNamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)
	hostPattern       = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,253}$`)
	secretNamePattern = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
)

// Faults collects what is wrong with a request, so that all is told at once. pointer is
// how whoever asked calls the field: "/host" in JSON, "--host" on a command line.
type Faults []FieldError

// Add adds a fault.
func (f *Faults) Add(pointer string, code Code, format string, args ...any) {
	*f = append(*f, FieldError{Pointer: pointer, Code: code, Detail: fmt.Sprintf(format, args...)})
}

// Err is nil without faults. Its code is CodeInvalidSlug if the slug is at
// fault, CodeDBServerNotFound if the server's name alone is, and else
// CodeInvalidRequest.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	e := &Error{Code: CodeInvalidRequest, Fields: f}
	said := make([]string, len(f))
	for i, field := range f {
		said[i] = strings.TrimPrefix(field.Pointer, "/") + ": " + field.Detail
		if field.Code == CodeInvalidSlug || field.Code == CodeDBServerNotFound && len(f) == 1 {
			e.Code = field.Code
		}
	}
	e.Message = strings.Join(said, " ")
	return e
}

// Text checks a required line of at most maximum characters and returns it
// trimmed.
func (f *Faults) Text(pointer, value string, maximum int) string {
	value = strings.TrimSpace(value)
	if value == "" {
		f.Add(pointer, FaultRequired, "This must not be empty.")
		return value
	}
	return f.Line(pointer, value, maximum)
}

// Line checks a line of at most maximum characters, which may be empty, and
// returns it trimmed. Postgres takes neither NUL nor invalid UTF-8.
func (f *Faults) Line(pointer, value string, maximum int) string {
	value = strings.TrimSpace(value)
	switch {
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		f.Add(pointer, FaultInvalid, "Control characters are not allowed.")
	case utf8.RuneCountInString(value) > maximum:
		f.Add(pointer, FaultInvalid, "This has more than %d characters.", maximum)
	}
	return value
}

// Email checks a bare address: no display name, no comment.
func (f *Faults) Email(pointer, value string) {
	if value == "" {
		f.Add(pointer, FaultRequired, "This must not be empty.")
		return
	}
	address, err := mail.ParseAddress(value)
	if err != nil || address.Address != value || len(value) > MaxEmail {
		f.Add(pointer, FaultInvalid, "This must be an e-mail address such as admin@acme.example.")
	}
}

// PageLimit checks how much of a list is asked for.
func (f *Faults) PageLimit(pointer string, n int) {
	if n < 1 || n > MaxPage {
		f.Add(pointer, FaultInvalid, "This must be a number from 1 to %d.", MaxPage)
	}
}

// ValidServerName reports whether a database server can have the name.
func ValidServerName(name string) bool { return serverNamePattern.MatchString(name) }

// ServerWanted checks the name of the server that a tenant is to be on, "" for any.
func (f *Faults) ServerWanted(pointer, name string) {
	if name != "" && !ValidServerName(name) {
		// No server can have this name, so the named one is missing.
		f.Add(pointer, CodeDBServerNotFound, "No database server can have this name.")
	}
}

// NewServerName checks the name of a server that is added.
func (f *Faults) NewServerName(pointer, name string) {
	switch {
	case !ValidServerName(name):
		f.Add(pointer, FaultInvalid, "This must be 1 to 63 lowercase letters, digits, dots and hyphens, beginning with a letter or digit.")
	case name == "new":
		f.Add(pointer, FaultInvalid, "The name new is the address of the console's form.")
	}
}

// Host checks where tenants reach a server.
func (f *Faults) Host(pointer, value string) {
	if !hostPattern.MatchString(value) {
		f.Add(pointer, FaultInvalid, "This must be a host name or an address.")
	}
}

// Port checks a server's port.
func (f *Faults) Port(pointer string, n int) {
	if n < 1 || n > math.MaxUint16 {
		f.Add(pointer, FaultInvalid, "This must be a port from 1 to 65535.")
	}
}

// SecretName checks the name of a secret in the vault.
func (f *Faults) SecretName(pointer, value string) {
	if !secretNamePattern.MatchString(value) {
		f.Add(pointer, FaultInvalid, "This must be the name of a Key Vault secret: 1 to 127 letters, digits and hyphens.")
	}
}

// Capacity checks a server's capacity hint.
func (f *Faults) Capacity(pointer string, n int) {
	if n < 0 || n > math.MaxInt32 {
		f.Add(pointer, FaultInvalid, "This must be a whole number from 0 to %d.", math.MaxInt32)
	}
}
