package http

import (
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// What may be wrong with a field, beside the codes of tenancy.
const (
	faultRequired tenancy.Code = "required"
	faultInvalid  tenancy.Code = "invalid"
	faultUnknown  tenancy.Code = "unknown_field"
)

// faults collects what is wrong with a request, so that all is told at once.
type faults []tenancy.FieldError

func (f *faults) add(pointer string, code tenancy.Code, format string, args ...any) {
	*f = append(*f, tenancy.FieldError{Pointer: pointer, Code: code, Detail: fmt.Sprintf(format, args...)})
}

// err is nil without faults. Its code is CodeInvalidSlug if the slug is at
// fault, CodeDBServerNotFound if the server's name alone is, and else
// CodeInvalidRequest.
func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	e := &tenancy.Error{Code: tenancy.CodeInvalidRequest, Fields: f}
	said := make([]string, len(f))
	for i, field := range f {
		said[i] = strings.TrimPrefix(field.Pointer, "/") + ": " + field.Detail
		if field.Code == tenancy.CodeInvalidSlug || field.Code == tenancy.CodeDBServerNotFound && len(f) == 1 {
			e.Code = field.Code
		}
	}
	e.Message = strings.Join(said, " ")
	return e
}

// text checks a required line of at most maximum characters and returns it
// trimmed.
func (f *faults) text(pointer, value string, maximum int) string {
	value = strings.TrimSpace(value)
	if value == "" {
		f.add(pointer, faultRequired, "This must not be empty.")
		return value
	}
	return f.line(pointer, value, maximum)
}

// line checks a line of at most maximum characters, which may be empty, and
// returns it trimmed. Postgres takes neither NUL nor invalid UTF-8.
func (f *faults) line(pointer, value string, maximum int) string {
	value = strings.TrimSpace(value)
	switch {
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		f.add(pointer, faultInvalid, "Control characters are not allowed.")
	case utf8.RuneCountInString(value) > maximum:
		f.add(pointer, faultInvalid, "This has more than %d characters.", maximum)
	}
	return value
}

func (f *faults) given(pointer string, set bool) {
	if !set {
		f.add(pointer, faultRequired, "This must be given.")
	}
}

func (f *faults) notNull(pointer string, null bool) {
	if null {
		f.add(pointer, faultInvalid, "This must not be null.")
	}
}

// maxEmail is the longest address SMTP delivers to.
const maxEmail = 254

// email checks a bare address: no display name, no comment.
func (f *faults) email(pointer, value string) {
	if value == "" {
		f.add(pointer, faultRequired, "This must not be empty.")
		return
	}
	address, err := mail.ParseAddress(value)
	if err != nil || address.Address != value || len(value) > maxEmail {
		f.add(pointer, faultInvalid, "This must be an e-mail address such as admin@acme.example.")
	}
}

// isID reports whether id can be one of ours; nothing else needs to be looked up.
func isID(id string) bool {
	_, err := uuid.Parse(id)
	return err == nil && len(id) == 36
}
