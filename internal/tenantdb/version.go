package tenantdb

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Version is how far a tenant's database is migrated: the number of the last
// file of each set, 0 for none.
type Version struct {
	Builtin, App uint64
}

// String is the form kept in the registry: "5/12" is file 5 of the built-in set
// and file 12 of the application's.
func (v Version) String() string { return fmt.Sprintf("%d/%d", v.Builtin, v.App) }

// ParseVersion reads the form of String.
func ParseVersion(s string) (Version, error) {
	builtin, app, ok := strings.Cut(s, "/")
	b, err1 := strconv.ParseUint(builtin, 10, 63)
	a, err2 := strconv.ParseUint(app, 10, 63)
	if !ok || err1 != nil || err2 != nil {
		return Version{}, fmt.Errorf("cannot read schema version %q: want two numbers and a slash, such as 5/12", s)
	}
	return Version{Builtin: b, App: a}, nil
}

// Compare orders versions by the application's set, then by the built-in one:
// -1 if v is older than o, 0 if they are equal, 1 if v is newer.
func (v Version) Compare(o Version) int {
	return cmp.Or(cmp.Compare(v.App, o.App), cmp.Compare(v.Builtin, o.Builtin))
}
