package tenantdb

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// TestNamesFitPostgres: a name of 64 bytes or more would be cut without a word,
// and two tenants could share it.
func TestNamesFitPostgres(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[a-z][a-z0-9-]{2,39}`).Filter(func(s string) bool {
			_, err := tenancy.ParseSlug(s, nil)
			return err == nil
		}).Draw(t, "slug")
		slug := tenancy.Slug(s)
		for _, name := range []string{slug.DatabaseName(), slug.OwnerRole(), slug.AppRole()} {
			if len(name) > 63 {
				t.Fatalf("%s has %d bytes", name, len(name))
			}
			if quote(name) != `"`+name+`"` || strings.ContainsAny(name, `$'"`) {
				t.Fatalf("%s is no plain name", name)
			}
		}
	})
}

func TestScramVerifier(t *testing.T) {
	t.Parallel()
	// RFC 7677, section 3.
	salt := []byte{0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81}
	got, err := scramVerifierWith("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	want := "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	one, _ := scramVerifier("same")
	two, _ := scramVerifier("same")
	if one == two {
		t.Error("two verifiers have the same salt")
	}
}

func TestNewPassword(t *testing.T) {
	t.Parallel()
	a, b := NewPassword(), NewPassword()
	if a == b || len(a) != 43 || strings.Trim(a, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("NewPassword gave %q and %q", a, b)
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	if got := oneLine("a\n\tb\x00 c\u2028d"); got != "a b c d" {
		t.Errorf("oneLine = %q", got)
	}
	if got := oneLine(strings.Repeat("é", 1000)); len([]rune(got)) != 401 {
		t.Errorf("oneLine left %d runes", len([]rune(got)))
	}
}
