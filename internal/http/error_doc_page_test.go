package http

import (
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestErrorDocPages(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for _, code := range tenancy.Codes() {
		a.browse(t, "", "GET", "/docs/errors/"+string(code), nil).wantStatus(200).
			shows(">"+string(code)+"</h1>", "<title>"+string(code)+" ", ">Meaning</h2>", ">Fix</h2>", `class="prose"`, "Sign in to tenantry").
			hides("## ", "Sections", "```")
	}
	a.browse(t, "session-readonly", "GET", "/docs/errors/NOT_FOUND", nil).wantStatus(200).shows("readonly@platform.example", "Sections").hides("Sign in to")
	a.browse(t, "session-ended", "GET", "/docs/errors/NOT_FOUND", nil).wantStatus(200).shows("Sign in to tenantry")
	a.browse(t, "", "GET", "/docs/errors/E_NOTHING", nil).wantStatus(404).shows("There is no such error code.")
	a.do(t, "", "GET", "/docs/errors/NOT_FOUND", "").wantStatus(200).wantHeader("Content-Type", "text/markdown; charset=utf-8").
		wantHeader("Cache-Control", "public, max-age=300").wantHeader("Vary", "Accept")
	if len(a.events) > 0 {
		t.Errorf("audited: %+v", a.events)
	}
}
