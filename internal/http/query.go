package http

import (
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// defaultLimit is how much of a list is shown unless asked.
const defaultLimit = 50

// query reads the parameters of a list and collects their faults. An empty
// parameter is as good as none.
type query struct {
	c *gin.Context
	// typed takes times as a browser's form has them too: without a zone, in UTC.
	typed bool
	faults
}

func (q *query) text(name string) string {
	return q.Line("/"+name, q.c.Query(name), tenancy.MaxParameter)
}

// oneOf is text that valid accepts.
func (q *query) oneOf(name string, valid func(string) bool) string {
	value := q.c.Query(name)
	if value != "" && !valid(value) {
		q.Add("/"+name, faultInvalid, "This is no %s this API knows.", name)
	}
	return value
}

func (q *query) time(name string) time.Time {
	value := q.c.Query(name)
	if value == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, value)
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if err != nil && q.typed {
			t, err = time.Parse(layout, value)
		}
	}
	if err != nil {
		q.Add("/"+name, faultInvalid, "This must be an RFC 3339 time such as 2026-01-31T12:00:00Z.")
	}
	return t
}

func (q *query) page() tenancy.Page {
	page := tenancy.Page{Limit: defaultLimit, Cursor: q.text("cursor")}
	if value := q.c.Query("limit"); value != "" {
		page.Limit, _ = strconv.Atoi(value) // what is no number is 0, which is none allowed
		q.PageLimit("/limit", page.Limit)
	}
	return page
}
