package tenancy_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestReadBatchFile(t *testing.T) {
	t.Parallel()
	acme := tenancy.NewBatchRow{Line: 2, Slug: "acme", DisplayName: "Acme Health", AdminEmail: "a@b.example"}
	for name, test := range map[string]struct {
		file string
		want []tenancy.NewBatchRow
	}{
		"plain":        {"slug,displayName,adminEmail\nacme,Acme Health,a@b.example\n", []tenancy.NewBatchRow{acme}},
		"no last line": {"slug,displayName,adminEmail\nacme,Acme Health,a@b.example", []tenancy.NewBatchRow{acme}},
		"mark and CR":  {"\ufeffslug,display_name,admin_email\r\nacme,Acme Health,a@b.example\r\n", []tenancy.NewBatchRow{acme}},
		"quoted mark":  {"\ufeff\"slug\",display_name,admin_email\nacme,Acme Health,a@b.example\n", []tenancy.NewBatchRow{acme}},
		"white space":  {" slug , displayName,adminEmail\n acme , Acme Health ,a@b.example \n", []tenancy.NewBatchRow{acme}},
		"any order": {"db_server,adminEmail,slug,displayName\npg-a,a@b.example,acme,Acme Health\n", []tenancy.NewBatchRow{
			{Line: 2, Slug: "acme", DisplayName: "Acme Health", AdminEmail: "a@b.example", ServerName: "pg-a"},
		}},
		"lines within quotes count": {"slug,displayName,adminEmail\n\nbolt,\"Bolt\nand\nSons\",b@b.example\n,, \ncask,\"a \"\"b\"\"\",c@c.example\n", []tenancy.NewBatchRow{
			{Line: 3, Slug: "bolt", DisplayName: "Bolt\nand\nSons", AdminEmail: "b@b.example"},
			{Line: 7, Slug: "cask", DisplayName: `a "b"`, AdminEmail: "c@c.example"},
		}},
		"wrong length": {"slug,displayName,adminEmail\nacme,Acme Health\nbolt,B,b@b.example,pg-a\n", []tenancy.NewBatchRow{
			{Line: 2, Slug: "acme", DisplayName: "Acme Health", Fault: &tenancy.Error{
				Code: tenancy.CodeInvalidRequest, Message: "The line has 2 cells, and the header has 3.",
			}},
			{Line: 3, Slug: "bolt", DisplayName: "B", AdminEmail: "b@b.example", Fault: &tenancy.Error{
				Code: tenancy.CodeInvalidRequest, Message: "The line has 4 cells, and the header has 3.",
			}},
		}},
	} {
		got, err := tenancy.ReadBatchFile(iotest.OneByteReader(strings.NewReader(test.file)), 0)
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestReadBatchFileRefusesAFileAsAWhole(t *testing.T) {
	t.Parallel()
	const header = "slug,displayName,adminEmail\n"
	for name, test := range map[string]struct{ file, want string }{
		"empty":           {"", "empty"},
		"a mark alone":    {"\ufeff", "empty"},
		"no rows":         {header + "\n,,\n", "no row"},
		"unknown column":  {"slug,displayName,adminEmail,plan\n", `no column "plan"`},
		"semicolons":      {"slug;displayName;adminEmail\n", "separated by commas"},
		"other case":      {"Slug,displayName,adminEmail\n", `no column "Slug"`},
		"no header":       {"acme,Acme,a@b.example\n", `no column "acme"`},
		"missing column":  {"slug,adminEmail\n", "column displayName is missing"},
		"column twice":    {"slug,displayName,adminEmail,display_name\n", "display_name is there twice"},
		"too many":        {header + "a,b,c\nd,e,f\ng,h,i\n", "more than 2 rows"},
		"open quote":      {header + "a,b,c\n\"d,e,canary\n", "line 3"},
		"quote in a cell": {header + "a,b\"canary,c\n", "line 2"},
		"Latin 1":         {header + "a,b,c\nd,M\xfcller,f\n", "Line 3 is not UTF-8"},
	} {
		rows, err := tenancy.ReadBatchFile(strings.NewReader(test.file), 2)
		if tenancy.CodeOf(err) != tenancy.CodeInvalidRequest || !strings.Contains(tenancy.AsError(err).Message, test.want) || rows != nil {
			t.Errorf("%s: %v, %v", name, err, rows)
		}
		if strings.Contains(tenancy.AsError(err).Message, "canary") {
			t.Errorf("%s: the message quotes the file: %v", name, err)
		}
	}
	broken := errors.New("broken")
	for _, file := range []string{"", header, header + "a,b,c\n"} {
		if _, err := tenancy.ReadBatchFile(io.MultiReader(strings.NewReader(file), iotest.ErrReader(broken)), 0); !errors.Is(err, broken) {
			t.Errorf("after %q: %v", file, err)
		}
	}
}

func TestRejectRepeats(t *testing.T) {
	t.Parallel()
	invalid := tenancy.Errorf(tenancy.CodeInvalidSlug, "no")
	rows := []tenancy.NewBatchRow{
		{Line: 2, Slug: "acme"},
		{Line: 3, Slug: ""},
		{Line: 4, Slug: ""},
		{Line: 5, Slug: "bolt", Fault: invalid},
		{Line: 7, Slug: "acme"},
		{Line: 8, Slug: "bolt"},
		{Line: 9, Slug: "acme", Fault: invalid},
	}
	tenancy.RejectRepeats(rows)
	var got []string
	for _, r := range rows {
		if r.Fault == nil {
			got = append(got, "")
			continue
		}
		got = append(got, r.Fault.Message)
	}
	want := []string{"", "", "", "no", `The slug "acme" is in row 2 already.`, `The slug "bolt" is in row 5 already.`, "no"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCapacityWarnings(t *testing.T) {
	t.Parallel()
	server := func(name string, capacity, used int) tenancy.ServerLoad {
		return tenancy.ServerLoad{DBServer: tenancy.DBServer{Name: name, CapacityHint: &capacity, IsActive: true}, TenantCount: used - 1, Reserved: 1}
	}
	unlimited := tenancy.ServerLoad{DBServer: tenancy.DBServer{Name: "pg-u", IsActive: true}}
	asleep := server("pg-s", 100, 1)
	asleep.IsActive = false
	for name, test := range map[string]struct {
		wanted  []string
		servers []tenancy.ServerLoad
		want    []string
	}{
		"room":              {[]string{"", "pg-a"}, []tenancy.ServerLoad{server("pg-a", 3, 1)}, []string{}},
		"together":          {[]string{"", "", ""}, []tenancy.ServerLoad{server("pg-a", 2, 1), server("pg-b", 2, 1)}, []string{"Rows that need a place: 3. All active servers together have room for 2."}},
		"one server":        {[]string{"pg-a", "pg-a"}, []tenancy.ServerLoad{server("pg-a", 2, 1), server("pg-b", 9, 1)}, []string{`Rows that ask for the server "pg-a": 2. It has room for 1.`}},
		"without limit":     {[]string{"", "", "pg-u"}, []tenancy.ServerLoad{server("pg-a", 2, 1), unlimited}, []string{}},
		"inactive":          {[]string{""}, []tenancy.ServerLoad{asleep}, []string{"Rows that need a place: 1. All active servers together have room for 0."}},
		"nothing is wanted": {nil, nil, []string{}},
	} {
		if diff := cmp.Diff(test.want, tenancy.CapacityWarnings(test.wanted, test.servers)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
