package tenantdb

import "fmt"

// Version is how far a tenant's database is migrated: the number of the last
// file of each set, 0 for none.
type Version struct {
	Builtin, App uint64
}

// String is the form kept in the registry: "5/12" is file 5 of the built-in set
// and file 12 of the application's.
func (v Version) String() string { return fmt.Sprintf("%d/%d", v.Builtin, v.App) }
