package tenancy

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// batchColumns are the columns of a batch's file, by each name they may have.
var batchColumns = map[string]func(*NewBatchRow) *string{
	"slug":         func(r *NewBatchRow) *string { return &r.Slug },
	"displayName":  func(r *NewBatchRow) *string { return &r.DisplayName },
	"display_name": func(r *NewBatchRow) *string { return &r.DisplayName },
	"adminEmail":   func(r *NewBatchRow) *string { return &r.AdminEmail },
	"admin_email":  func(r *NewBatchRow) *string { return &r.AdminEmail },
	"dbServer":     func(r *NewBatchRow) *string { return &r.ServerName },
	"db_server":    func(r *NewBatchRow) *string { return &r.ServerName },
}

const batchColumnsHint = "The columns are slug, displayName, adminEmail and, if wanted, dbServer, separated by commas."

// ReadBatchFile reads the rows of a CSV file with a header, in UTF-8, with or
// without a byte order mark. Cells are trimmed; a line of empty cells is none. It
// fails with CodeInvalidRequest if the file as a whole cannot be read, has no row
// or more than limit, 0 for any number; and with what r fails with. A row of the
// wrong length has a Fault. No message quotes a cell below the header.
func ReadBatchFile(r io.Reader, limit int) ([]NewBatchRow, error) {
	in := csv.NewReader(withoutMark(r))
	in.FieldsPerRecord = -1
	in.ReuseRecord = true
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, Errorf(CodeInvalidRequest, "The file is empty. %s", batchColumnsHint)
	}
	if err != nil {
		return nil, unreadable(err)
	}
	columns, err := readHeader(header)
	if err != nil {
		return nil, err
	}
	var rows []NewBatchRow
	for {
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, unreadable(err)
		}
		line, _ := in.FieldPos(0)
		row := NewBatchRow{Line: line}
		empty := true
		for i, cell := range cells {
			if !utf8.ValidString(cell) {
				return nil, Errorf(CodeInvalidRequest, "Line %d is not UTF-8.", line)
			}
			cell = strings.TrimSpace(cell)
			empty = empty && cell == ""
			if i < len(columns) {
				*columns[i](&row) = cell
			}
		}
		if empty {
			continue
		}
		if len(cells) != len(columns) {
			row.Fault = Errorf(CodeInvalidRequest, "The line has %d cells, and the header has %d.", len(cells), len(columns))
		}
		if rows = append(rows, row); limit > 0 && len(rows) > limit {
			return nil, Errorf(CodeInvalidRequest, "There are more than %d rows.", limit)
		}
	}
	if len(rows) == 0 {
		return nil, Errorf(CodeInvalidRequest, "The file has no row below its header.")
	}
	return rows, nil
}

// withoutMark skips the byte order mark that some programs put before UTF-8.
func withoutMark(r io.Reader) io.Reader {
	in := bufio.NewReader(r)
	if mark, err := in.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = in.Discard(3) // it was peeked at
	}
	return in
}

func readHeader(names []string) ([]func(*NewBatchRow) *string, error) {
	columns := make([]func(*NewBatchRow) *string, len(names))
	var probe NewBatchRow
	var seen []*string
	for i, name := range names {
		name = strings.TrimSpace(name)
		column, ok := batchColumns[name]
		if !ok {
			return nil, Errorf(CodeInvalidRequest, "There is no column %q. %s", shorten(name), batchColumnsHint)
		}
		if slices.Contains(seen, column(&probe)) {
			return nil, Errorf(CodeInvalidRequest, "The column %s is there twice.", name)
		}
		seen = append(seen, column(&probe))
		columns[i] = column
	}
	for _, name := range []string{"slug", "displayName", "adminEmail"} {
		if !slices.Contains(seen, batchColumns[name](&probe)) {
			return nil, Errorf(CodeInvalidRequest, "The column %s is missing. %s", name, batchColumnsHint)
		}
	}
	return columns, nil
}

// shorten keeps a message short when a whole file stands in one cell.
func shorten(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return s
}

func unreadable(err error) error {
	if fault, ok := errors.AsType[*csv.ParseError](err); ok {
		return Errorf(CodeInvalidRequest, "The file is no CSV from line %d on: %v.", fault.StartLine, fault.Err)
	}
	return fmt.Errorf("cannot read the file: %w", err)
}
