package http

import (
	"github.com/google/uuid"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// What may be wrong with a field, beside the codes of tenancy.
const (
	faultRequired = tenancy.FaultRequired
	faultInvalid  = tenancy.FaultInvalid

	faultUnknown tenancy.Code = "unknown_field"
)

// faults collects what is wrong with a request, so that all is told at once.
type faults struct{ tenancy.Faults }

func (f *faults) given(pointer string, set bool) {
	if !set {
		f.Add(pointer, faultRequired, "This must be given.")
	}
}

func (f *faults) notNull(pointer string, null bool) {
	if null {
		f.Add(pointer, faultInvalid, "This must not be null.")
	}
}

// isID reports whether id can be one of ours; nothing else needs to be looked up.
func isID(id string) bool {
	_, err := uuid.Parse(id)
	return err == nil && len(id) == 36
}
