package http

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// The most a request's body may have, in bytes: any, and that of a batch.
const (
	maxBody      = 64 << 10
	maxBatchBody = 1 << 20
)

// decode reads the request's body, one JSON value without unknown members. It
// fails with CodeInvalidRequest: 415 for another content type, 413 for a body
// beyond maxBody, else 422. The fault's text never quotes the body's values.
func decode(c *gin.Context, into any) error { return decodeWithin(c, into, maxBody) }

func decodeWithin(c *gin.Context, into any, limit int64) error {
	if contentType := c.GetHeader("Content-Type"); contentType != "" {
		media, _, err := mime.ParseMediaType(contentType)
		if err != nil || media != "application/json" {
			return withStatus(http.StatusUnsupportedMediaType,
				tenancy.Errorf(tenancy.CodeInvalidRequest, "The body must be application/json."))
		}
	}
	dec := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, limit))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return decodeError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		if _, beyond := errors.AsType[*http.MaxBytesError](err); beyond {
			return decodeError(err)
		}
		return tenancy.Errorf(tenancy.CodeInvalidRequest, "The body must be one JSON value.")
	}
	return nil
}

func tooLarge(e *http.MaxBytesError) error {
	return withStatus(http.StatusRequestEntityTooLarge,
		tenancy.Errorf(tenancy.CodeInvalidRequest, "The body is larger than %d bytes.", e.Limit))
}

func decodeError(err error) error {
	if beyond, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(beyond)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(wrong.Value, " ") // "number 1.5" quotes the value
		pointer := ""
		if wrong.Field != "" {
			pointer = "/" + strings.ReplaceAll(wrong.Field, ".", "/")
		}
		return tenancy.Faults{{Pointer: pointer, Code: faultInvalid, Detail: "A JSON " + kind + " does not fit here."}}.Err()
	}
	// encoding/json has no type for this one.
	if name, ok := strings.CutPrefix(err.Error(), `json: unknown field "`); ok {
		name = strings.TrimSuffix(name, `"`)
		return tenancy.Faults{{Pointer: "/" + name, Code: faultUnknown, Detail: "There is no such field."}}.Err()
	}
	if errors.Is(err, io.EOF) {
		return tenancy.Errorf(tenancy.CodeInvalidRequest, "The body is empty; it must be a JSON object.")
	}
	return tenancy.Errorf(tenancy.CodeInvalidRequest, "The body is not valid JSON.")
}

// optional is a member that may be absent, null or a value.
type optional[T any] struct {
	Set, Null bool
	Value     T
}

func (o *optional[T]) UnmarshalJSON(data []byte) error {
	o.Set, o.Null = true, string(data) == "null"
	if o.Null {
		return nil
	}
	return json.Unmarshal(data, &o.Value)
}

// pointer returns the value, nil if there is none.
func (o optional[T]) pointer() *T {
	if !o.Set || o.Null {
		return nil
	}
	return &o.Value
}

// writeJSON answers with v.
func writeJSON(c *gin.Context, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return tenancy.Wrap(tenancy.CodeInternal, err, "cannot encode the answer")
	}
	c.Data(status, "application/json", body)
	return nil
}

// list is one page of a list.
type list[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"nextCursor"`
}

func newList[In, Out any](rows []In, next string, show func(In) Out) list[Out] {
	items := make([]Out, len(rows))
	for i, row := range rows {
		items[i] = show(row)
	}
	return list[Out]{Items: items, NextCursor: orNull(next)}
}

// orNull shows what is not known as null.
func orNull[T ~string](v T) *T {
	if v == "" {
		return nil
	}
	return &v
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
