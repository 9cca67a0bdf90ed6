package http

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// exchange is what the middleware knows of one request.
type exchange struct {
	requestID string
	// principal is the caller, zero while unknown.
	principal tenancy.Principal
	// watched is the version of the job that the request polls, if the caller's
	// credential told it too.
	watched *tenancy.JobVersion
	// visit is nil unless the request is for a tenant's own pages.
	visit *visit
}

const exchangeKey = "exchange"

func exchangeOf(c *gin.Context) *exchange { return c.MustGet(exchangeKey).(*exchange) }

// actor is who asks.
func actor(c *gin.Context) tenancy.Actor { return exchangeOf(c).principal.Actor }

// observe gives the request an id, tells it to the caller, and logs the request
// once it is answered.
func (s *server) observe(c *gin.Context) {
	start := time.Now()
	x := &exchange{requestID: requestID(c.GetHeader("X-Request-Id"))}
	c.Set(exchangeKey, x)
	c.Header("X-Request-Id", x.requestID)
	c.Next()
	level := slog.LevelInfo
	if route := c.FullPath(); route == "/healthz" || route == "/readyz" {
		level = slog.LevelDebug // a probe every few seconds
	}
	s.Log.LogAttrs(c.Request.Context(), level, "request",
		slog.String("method", knownMethod(c.Request.Method)), slog.String("route", c.FullPath()),
		slog.Int("status", c.Writer.Status()), slog.Duration("duration", time.Since(start)),
		slog.String("requestId", x.requestID), slog.String("userId", string(x.principal.UserID)))
}

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID keeps the caller's id if it is fit for a log.
func requestID(incoming string) string {
	if incoming != "" && requestIDPattern.MatchString(incoming) {
		return incoming
	}
	return uuid.Must(uuid.NewV7()).String()
}

// knownMethod keeps invented methods out of the log and the audit trail.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return method
	}
	return "OTHER"
}

// recoverPanic answers a panic with CodeInternal and logs its stack.
func (s *server) recoverPanic(c *gin.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p)
		}
		c.Abort()
		s.Log.LogAttrs(c.Request.Context(), slog.LevelError, "a handler panicked",
			slog.String("requestId", exchangeOf(c).requestID), slog.String("route", c.FullPath()),
			slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
		if !c.Writer.Written() {
			s.answerError(c, tenancy.Errorf(tenancy.CodeInternal, "a handler panicked"))
		}
	}()
	c.Next()
}

// protect sets the headers every answer has and refuses what another site makes
// a browser send.
func (s *server) protect(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if err := s.crossOrigin.Check(c.Request); err != nil {
		c.Abort()
		s.answerError(c, s.refuse(c, tenancy.Errorf(tenancy.CodeForbidden, "Requests from other origins are refused.")))
	}
}
