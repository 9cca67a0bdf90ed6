package console

import (
	"bytes"
	"fmt"
	"html/template"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"

	"github.com/tenantry/tenantry/docs"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// ErrorDocPage is the runbook's page of a code.
type ErrorDocPage struct {
	Frame
	Text template.HTML
}

func (ErrorDocPage) template() string { return "error_doc" }

// markdown leaves raw HTML out, and aligns the cells of a table without a style,
// which the pages' policy forbids.
var markdown = goldmark.New(
	goldmark.WithExtensions(extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute))),
	goldmark.WithParserOptions(parser.WithAutoHeadingID()),
)

// ErrorDoc is what the runbook says of one of tenancy.Codes.
func ErrorDoc(code tenancy.Code) (template.HTML, error) {
	page, err := docs.Errors.ReadFile("errors/" + string(code) + ".md")
	if err != nil {
		return "", fmt.Errorf("cannot find the page of %s: %w", code, err)
	}
	var text bytes.Buffer
	if err := markdown.Convert(page, &text); err != nil {
		return "", fmt.Errorf("cannot render the page of %s: %w", code, err)
	}
	return template.HTML(text.String()), nil //nolint:gosec // our own text, and without raw HTML
}
