package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
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

// decode reads the request's body, one JSON value without unknown or repeated
// members. It fails with CodeInvalidRequest: 415 for another content type, 413 for
// a body beyond maxBody, else 422. The fault's text never quotes the body's values.
func decode(c *gin.Context, into any) error { return decodeWithin(c, into, maxBody) }

func decodeWithin(c *gin.Context, into any, limit int64) error {
	if contentType := c.GetHeader("Content-Type"); contentType != "" {
		media, _, err := mime.ParseMediaType(contentType)
		if err != nil || media != "application/json" {
			return withStatus(http.StatusUnsupportedMediaType,
				tenancy.Errorf(tenancy.CodeInvalidRequest, "The body must be application/json."))
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, limit))
	if err != nil {
		return decodeError(err)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(into); err != nil {
		return decodeError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return tenancy.Errorf(tenancy.CodeInvalidRequest, "The body must be one JSON value.")
	}
	return checkNames(body, reflect.TypeOf(into).Elem(), "")
}

// checkNames refuses in text, the JSON of a value of the type, a member that is
// not spelt as the field is, or that is there twice: encoding/json takes names in
// whatever case, and of two members the later.
func checkNames(text []byte, of reflect.Type, pointer string) error {
	if of.Kind() == reflect.Slice {
		var items []json.RawMessage
		err := json.Unmarshal(text, &items)
		for i := 0; err == nil && i < len(items); i++ {
			err = checkNames(items[i], of.Elem(), pointer+"/"+strconv.Itoa(i))
		}
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return err
	}
	seen := make(map[string]bool)
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		name, _ := token.(string)
		at := pointer + "/" + pointerEscapes.Replace(name)
		field, known := member(of, name)
		switch {
		case !known:
			return tenancy.Faults{{Pointer: at, Code: faultUnknown, Detail: "There is no such field."}}.Err()
		case seen[name]:
			return tenancy.Faults{{Pointer: at, Code: faultInvalid, Detail: "This is given more than once."}}.Err()
		}
		seen[name] = true
		if err := checkNames(value, field, at); err != nil {
			return err
		}
	}
	return nil
}

// member returns the type of the member that an object of the type may have under
// the name.
func member(of reflect.Type, name string) (reflect.Type, bool) {
	if of.Kind() == reflect.Map {
		return of.Elem(), true
	}
	for i := range of.NumField() {
		if field := of.Field(i); field.Tag.Get("json") == name {
			return field.Type, true
		}
	}
	return nil, false
}

// pointerEscapes are RFC 6901's.
var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

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
