package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestQuantiles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		of                series
		low, median, high float64
	}{
		"nothing": {},
		"one":     {of: series{7}, low: 7, median: 7, high: 7},
		"even":    {of: series{4, 1, 3, 2}, low: 1.3, median: 2.5, high: 3.7},
		"odd":     {of: series{30, 10, 20}, low: 12, median: 20, high: 28},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := []float64{tc.of.spread().low, tc.of.median(), tc.of.spread().high}
			if diff := cmp.Diff([]float64{tc.low, tc.median, tc.high}, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
				t.Errorf("p10, p50, p90 (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMedianKeepsTheOrder(t *testing.T) {
	t.Parallel()
	s := series{3, 1, 2}
	_ = s.median()
	if diff := cmp.Diff(series{3, 1, 2}, s); diff != "" {
		t.Errorf("the series changed:\n%s", diff)
	}
}

func TestAddIsInMilliseconds(t *testing.T) {
	t.Parallel()
	var s series
	s.add(1500 * time.Microsecond)
	if diff := cmp.Diff(series{1.5}, s); diff != "" {
		t.Error(diff)
	}
}

func TestRatioIsOfMediansAndSpreadOfRounds(t *testing.T) {
	t.Parallel()
	l := ratio(coldOverCopy, series{10, 30, 20, 99}, series{10, 10, 20}, "ms")
	if l.value != 1.25*2 { // 25 / 10
		t.Errorf("value %v", l.value)
	}
	if diff := cmp.Diff([]float64{1, 2.6}, []float64{l.spread.low, l.spread.high}, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("spread of 1, 3 and 1:\n%s", diff)
	}
	if l.n != 3 || l.measured != "25.0 ms" || l.against != "10.0 ms" {
		t.Errorf("got %d, %s, %s", l.n, l.measured, l.against)
	}
}
