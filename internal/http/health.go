package http

import (
	"context"
	_ "embed"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/docs"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// readyTimeout bounds all the checks of readyz together; a probe does not wait
// much longer.
const readyTimeout = 5 * time.Second

// publicCache is for what changes only with a release.
const publicCache = "public, max-age=300"

//go:embed openapi.yaml
var openAPIDocument []byte

// healthz serves GET /healthz: the process answers. It asks nobody.
func (s *server) healthz(c *gin.Context) error {
	return writeJSON(c, http.StatusOK, map[string]string{"status": "ok"})
}

type readinessJSON struct {
	Status string `json:"status"`
	// Checks has "ok" or a Code for each dependency.
	Checks map[string]string `json:"checks"`
}

// readyz serves GET /readyz: whether everything this process needs answers.
func (s *server) readyz(c *gin.Context) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), readyTimeout)
	defer cancel()
	status, answer := http.StatusOK, readinessJSON{Status: "ready", Checks: map[string]string{}}
	if s.Ready != nil {
		for name, err := range s.Ready(ctx) {
			if err == nil {
				answer.Checks[name] = "ok"
				continue
			}
			status, answer.Status = http.StatusServiceUnavailable, "unavailable"
			answer.Checks[name] = string(tenancy.CodeOf(err))
			s.Log.LogAttrs(ctx, slog.LevelWarn, "a dependency is not ready",
				slog.String("dependency", name), slog.Any("error", err))
		}
	}
	return writeJSON(c, status, answer)
}

// version serves GET /version.
func (s *server) version(c *gin.Context) error {
	return writeJSON(c, http.StatusOK, map[string]string{"version": s.Version})
}

// openAPI serves GET /openapi.yaml.
func (s *server) openAPI(c *gin.Context) error {
	c.Header("Cache-Control", publicCache)
	c.Data(http.StatusOK, "application/yaml", openAPIDocument)
	return nil
}

// errorDoc serves GET /docs/errors/{code}, where a problem's type and a job's
// runbookUrl lead.
func (s *server) errorDoc(c *gin.Context) error {
	code, err := codeOf(c)
	if err != nil {
		return err
	}
	page, err := docs.Errors.ReadFile("errors/" + string(code) + ".md")
	if err != nil {
		return err
	}
	c.Header("Cache-Control", publicCache)
	c.Header("Vary", "Accept") // to a browser it is a page
	c.Data(http.StatusOK, "text/markdown; charset=utf-8", page)
	return nil
}

// codeOf returns the code in the path, or fails with CodeNotFound.
func codeOf(c *gin.Context) (tenancy.Code, error) {
	code := tenancy.Code(c.Param("code"))
	if !slices.Contains(tenancy.Codes(), code) {
		return "", tenancy.Errorf(tenancy.CodeNotFound, "There is no such error code.")
	}
	return code, nil
}
