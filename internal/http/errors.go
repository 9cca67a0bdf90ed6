package http

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// outcome is how a Code is told over HTTP.
type outcome struct {
	status int
	title  string
}

// outcomes has every code of tenancy.Codes. A code of a job alone never answers
// a request; if it did, it would be our fault.
var outcomes = map[tenancy.Code]outcome{
	tenancy.CodeInvalidSlug:             {http.StatusUnprocessableEntity, "Invalid slug"},
	tenancy.CodeDBServerNotFound:        {http.StatusUnprocessableEntity, "Database server not found"},
	tenancy.CodeInvalidRequest:          {http.StatusUnprocessableEntity, "Invalid request"},
	tenancy.CodeJobInProgress:           {http.StatusConflict, "Job in progress"},
	tenancy.CodeAlreadyProvisioned:      {http.StatusConflict, "Already provisioned"},
	tenancy.CodeConflict:                {http.StatusConflict, "Conflict"},
	tenancy.CodeUnauthenticated:         {http.StatusUnauthorized, "Not authenticated"},
	tenancy.CodeForbidden:               {http.StatusForbidden, "Forbidden"},
	tenancy.CodeNotFound:                {http.StatusNotFound, "Not found"},
	tenancy.CodeRateLimited:             {http.StatusTooManyRequests, "Too many failed attempts"},
	tenancy.CodeProvisioningUnavailable: {http.StatusServiceUnavailable, "Provisioning unavailable"},
	tenancy.CodeDependencyUnavailable:   {http.StatusServiceUnavailable, "Dependency unavailable"},
	tenancy.CodeTimeout:                 {http.StatusGatewayTimeout, "Timed out"},
	tenancy.CodeTenantReadOnly:          {http.StatusForbidden, "Tenant is read-only"},
	tenancy.CodeTenantSuspended:         {http.StatusServiceUnavailable, "Tenant is suspended"},
	tenancy.CodeTenantOffboarding:       {http.StatusForbidden, "Tenant is being closed"},
	tenancy.CodePartialState:            {http.StatusInternalServerError, "Partial state"},
	tenancy.CodeNoCapacity:              {http.StatusInternalServerError, "No capacity"},
	tenancy.CodeAdminConnUnresolved:     {http.StatusInternalServerError, "Admin connection unresolved"},
	tenancy.CodeMigrationsFailed:        {http.StatusInternalServerError, "Migrations failed"},
	tenancy.CodeInternal:                {http.StatusInternalServerError, "Internal error"},
}

// opaqueDetail is all a caller learns of a fault of ours.
const opaqueDetail = "An internal error happened; the log has it under the request's id."

// statusError is an error with another status than its code's own, such as 405.
type statusError struct {
	status int
	error
}

func (e statusError) Unwrap() error { return e.error }

func withStatus(status int, err error) error { return statusError{status, err} }

// problem is the body of RFC 9457, with our own members.
type problem struct {
	Type      string         `json:"type"`
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail"`
	Code      tenancy.Code   `json:"code"`
	RequestID string         `json:"requestId"`
	JobID     tenancy.JobID  `json:"jobId,omitempty"`
	Errors    []problemField `json:"errors,omitempty"`

	retryAfter time.Duration
}

type problemField struct {
	Pointer string       `json:"pointer"`
	Code    tenancy.Code `json:"code"`
	Detail  string       `json:"detail"`
}

// problemOf tells an error. Together with writePageError, which shows the same
// to people, writeError is the only place that turns one into HTTP.
func (s *server) problemOf(c *gin.Context, err error) problem {
	e := tenancy.AsError(err)
	code := e.Code
	how, known := outcomes[code]
	if !known {
		code, how = tenancy.CodeInternal, outcomes[tenancy.CodeInternal]
	}
	p := problem{
		Type: s.DocsURL + string(code), Title: how.title, Status: how.status, Detail: e.Message,
		Code: code, RequestID: exchangeOf(c).requestID, JobID: e.JobID,
	}
	if other, ok := errors.AsType[statusError](err); ok {
		p.Status = other.status
	}
	for _, f := range e.Fields {
		p.Errors = append(p.Errors, problemField(f))
	}
	if p.Status == http.StatusInternalServerError {
		p.Detail = opaqueDetail
	}
	p.retryAfter = e.RetryAfter
	if p.Status >= http.StatusInternalServerError {
		s.logFailure(c, p, err)
	}
	return p
}

func (s *server) setErrorHeaders(c *gin.Context, p problem) {
	switch p.Code {
	case tenancy.CodeUnauthenticated:
		challenge := "Bearer"
		if exchangeOf(c).visit != nil {
			challenge = visitorChallenge
		}
		c.Header("WWW-Authenticate", challenge)
	case tenancy.CodeRateLimited:
		seconds := max(1, int(math.Ceil(p.retryAfter.Seconds())))
		c.Header("Retry-After", strconv.Itoa(seconds))
	case tenancy.CodeDependencyUnavailable:
		c.Header("Retry-After", "5")
	}
	c.Header("Cache-Control", "no-store")
}

// writeError answers with err as a problem.
func (s *server) writeError(c *gin.Context, err error) {
	p := s.problemOf(c, err)
	s.setErrorHeaders(c, p)
	body, err := json.Marshal(p)
	if err != nil { // cannot be: a problem has only strings and numbers
		panic(err)
	}
	c.Data(p.Status, "application/problem+json", body)
}

func (s *server) logFailure(c *gin.Context, p problem, err error) {
	level := slog.LevelWarn
	switch {
	case c.Request.Context().Err() != nil && errors.Is(err, c.Request.Context().Err()) && p.Code == tenancy.CodeInternal:
		level = slog.LevelDebug // the caller went away
	case p.Code == tenancy.CodeTenantSuspended:
		level = slog.LevelDebug // as an operator wants it
	case p.Status == http.StatusInternalServerError:
		level = slog.LevelError
	}
	s.Log.LogAttrs(c.Request.Context(), level, "cannot serve a request",
		slog.String("requestId", p.RequestID), slog.String("route", c.FullPath()),
		slog.String("code", string(p.Code)), slog.Any("error", err))
}
