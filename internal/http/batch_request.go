package http

import (
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// batchRequest is the request for a batch, whichever form it came in.
type batchRequest struct {
	Rows         []tenancy.NewBatchRow
	DryRun       bool
	ValidateOnly bool
}

// readBatchRequest reads the body as CSV, if that is its type, or else as JSON, up
// to maxBatchBody bytes. It fails as decode does.
func readBatchRequest(c *gin.Context) (batchRequest, error) {
	media, params, err := mime.ParseMediaType(c.GetHeader("Content-Type"))
	if err == nil && media == "text/csv" {
		if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
			return batchRequest{}, withStatus(http.StatusUnsupportedMediaType, tenancy.Errorf(tenancy.CodeInvalidRequest, "A CSV file must be UTF-8."))
		}
		return readBatchCSV(c)
	}
	return readBatchJSON(c)
}

func readBatchJSON(c *gin.Context) (batchRequest, error) {
	var body struct {
		Rows []struct {
			Slug        string `json:"slug"`
			DisplayName string `json:"displayName"`
			AdminEmail  string `json:"adminEmail"`
			DBServer    string `json:"dbServer"`
		} `json:"rows"`
		DryRun       bool `json:"dryRun"`
		ValidateOnly bool `json:"validateOnly"`
	}
	q := query{c: c}
	q.only()
	if err := q.Err(); err != nil {
		return batchRequest{}, err
	}
	if err := decodeWithin(c, &body, maxBatchBody); err != nil {
		return batchRequest{}, err
	}
	var f faults
	if len(body.Rows) == 0 {
		f.Add("/rows", faultRequired, "There must be at least one row.")
	}
	if len(body.Rows) > tenancy.MaxBatchRows {
		f.Add("/rows", faultInvalid, "There are more than %d rows.", tenancy.MaxBatchRows)
	}
	req := batchRequest{DryRun: body.DryRun, ValidateOnly: body.ValidateOnly, Rows: make([]tenancy.NewBatchRow, len(body.Rows))}
	for i, r := range body.Rows {
		req.Rows[i] = tenancy.NewBatchRow{Line: i + 1, Slug: r.Slug, DisplayName: r.DisplayName, AdminEmail: r.AdminEmail, ServerName: r.DBServer}
	}
	return req, f.Err()
}

func readBatchCSV(c *gin.Context) (batchRequest, error) {
	q := query{c: c}
	q.only("dryRun", "validateOnly")
	req := batchRequest{DryRun: q.flag("dryRun"), ValidateOnly: q.flag("validateOnly")}
	if err := q.Err(); err != nil {
		return req, err
	}
	var err error
	req.Rows, err = tenancy.ReadBatchFile(http.MaxBytesReader(c.Writer, c.Request.Body, maxBatchBody), tenancy.MaxBatchRows)
	if beyond, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return req, tooLarge(beyond)
	}
	if _, told := errors.AsType[*tenancy.Error](err); err != nil && !told {
		return req, tenancy.Errorf(tenancy.CodeInvalidRequest, "The body did not arrive whole.")
	}
	return req, err
}

// newBatch checks each row by itself and the idempotency key. Rows at fault go
// along, to be told one by one.
func (r batchRequest) newBatch(c *gin.Context, reserved tenancy.ReservedSlugs) (tenancy.NewBatch, error) {
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Fault == nil {
			var f faults
			_, name := f.newTenant(row.Slug, row.DisplayName, row.AdminEmail, row.ServerName, reserved)
			if err := f.Err(); err != nil {
				row.Fault = tenancy.AsError(err)
			} else {
				row.DisplayName = name
			}
		}
		if row.Fault != nil {
			row.Slug, row.DisplayName = presentable(row.Slug), presentable(row.DisplayName)
		}
	}
	tenancy.RejectRepeats(r.Rows)
	var f faults
	key := f.idempotencyKey(c)
	return tenancy.NewBatch{
		Rows: r.Rows, DryRun: r.DryRun, RequestedBy: actor(c), RequestID: exchangeOf(c).requestID, IdempotencyKey: key,
	}, f.Err()
}

// presentable is a value at fault in a form that can be kept and shown.
func presentable(value string) string {
	value = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(value, string(unicode.ReplacementChar)))
	if runes := []rune(value); len(runes) > tenancy.MaxDisplayName {
		return string(runes[:tenancy.MaxDisplayName]) + "…"
	}
	return value
}

// only refuses parameters the route does not have: one that is misspelt, or
// belongs in the body, must not pass for one that was not given.
func (q *query) only(names ...string) {
	var unknown []string
	for name := range q.c.Request.URL.Query() {
		if !slices.Contains(names, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		q.Add("/"+name, faultUnknown, "There is no such parameter.")
	}
}

func (q *query) flag(name string) bool {
	value := q.oneOf(name, func(v string) bool { return v == "true" || v == "false" })
	return value == "true"
}
