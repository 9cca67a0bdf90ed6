package tenancy_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestEventTypesHasEveryEvent(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("audit.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []tenancy.EventType
	for _, m := range regexp.MustCompile(`EventType = "(\w+)"`).FindAllSubmatch(source, -1) {
		want = append(want, tenancy.EventType(m[1]))
	}
	if diff := cmp.Diff(want, tenancy.EventTypes()); diff != "" {
		t.Errorf("EventTypes (-constants +listed):\n%s", diff)
	}
}
