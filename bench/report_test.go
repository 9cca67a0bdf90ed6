package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		target target
		value  float64
		want   verdict
	}{
		{coldOverCopy, 1.2, targetMet},
		{coldOverCopy, 1.404, targetMet}, // shown as 1.40
		{coldOverCopy, 1.41, floorMet},
		{coldOverCopy, 1.8, floorMet},
		{coldOverCopy, 1.81, missed},
		{bulkOverClones, 0.9, targetMet},
		{bulkOverClones, 0.896, targetMet}, // shown as 0.90
		{bulkOverClones, 0.89, floorMet},
		{bulkOverClones, 0.74, missed},
		{idleMemory, 60, targetMet},
		{idleMemory, 101, missed},
	} {
		if got := tc.target.judge(tc.value); got != tc.want {
			t.Errorf("%s, %v: %s, want %s", tc.target.what, tc.value, got, tc.want)
		}
	}
}

// sample is a report with a line of each kind.
func sample() *report {
	r := &report{Machine: []string{"2 cores"}, Skipped: []string{growth.what}}
	for _, t := range targets {
		if t.what != growth.what && t.what != shellOverWarm.what {
			r.Lines = append(r.Lines, line{target: t, value: t.target, n: 1}.judged())
		}
	}
	r.Lines = append(r.Lines, ratio(target{what: "besides"}, series{2, 4}, series{1, 1}, "ms"))
	r.Bars = []bar{{what: "a <bare> copy", median: 50, spread: spread{40, 60}}, {what: "warm", median: 5, spread: spread{4, 6}, ours: true}}
	r.complete()
	return r
}

func TestPromisesComeFirstAndNoneIsLeftOut(t *testing.T) {
	t.Parallel()
	r := sample()
	var got []string
	for _, l := range r.Lines {
		got = append(got, l.what)
	}
	var want []string
	for _, t := range targets {
		want = append(want, t.what)
	}
	if diff := cmp.Diff(append(want, "besides"), got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if err := r.err(); err == nil || err.Error() != "not measured: "+shellOverWarm.what {
		t.Errorf("err = %v; only what should have been measured is a fault", err)
	}
}

func TestAMissedFloorIsAnError(t *testing.T) {
	t.Parallel()
	r := &report{Lines: []line{line{target: coldOverCopy, value: 2}.judged(), line{target: growth, value: 1.4}.judged()}}
	want := "floor missed: " + coldOverCopy.what + " is 2.00, floor ≤ 1.8"
	if err := r.err(); err == nil || err.Error() != want {
		t.Errorf("err = %v, want %s", err, want)
	}
}

func TestSpliceLeavesTheRest(t *testing.T) {
	t.Parallel()
	got, err := splice("# Title\n\nby hand\n\n<!-- bench -->\nold\n<!-- /bench -->\n\nmore\n", "new\n")
	if err != nil {
		t.Fatal(err)
	}
	want := "# Title\n\nby hand\n\n<!-- bench -->\n\nnew\n\n<!-- /bench -->\n\nmore\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	again, err := splice(got, "new")
	if diff := cmp.Diff(got, again); err != nil || diff != "" {
		t.Errorf("a second time: %v\n%s", err, diff)
	}
	for _, page := range []string{"", "<!-- bench -->", "<!-- /bench --><!-- bench -->"} {
		if _, err := splice(page, "new"); err == nil {
			t.Errorf("%q has no place, and no error", page)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := sample().write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"- 2 cores\n", "(benchmarks/promises.svg)", "(benchmarks/tenant.svg)", "| besides | 3.00 | 2.20–3.80 | 2 | – | – | – | 3.00 ms | 1.00 ms |\n"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("benchmarks.md lacks %q:\n%s", want, page)
		}
	}
	for _, name := range []string{"tenant.svg", "promises.svg"} {
		svg, err := os.ReadFile(filepath.Join(dir, "benchmarks", name))
		if err != nil {
			t.Fatal(err)
		}
		decoder := xml.NewDecoder(bytes.NewReader(svg))
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s is no XML: %v", name, err)
			}
		}
	}
}

func TestSchemaIsTheSizeItIsSaidToBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeSchema(dir); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.up.sql"))
	if err != nil || len(files) != 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var all strings.Builder
	for _, name := range files {
		sql, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(sql)
	}
	if n := strings.Count(all.String(), "CREATE TABLE "); n != 100 {
		t.Errorf("%d tables", n)
	}
	if n := strings.Count(all.String(), "INDEX ") + strings.Count(all.String(), "PRIMARY KEY") + strings.Count(all.String(), "UNIQUE CHECK") + strings.Count(all.String(), "UNIQUE ("); n != 399 {
		t.Errorf("%d indexes", n)
	}
}
