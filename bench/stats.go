package main

import (
	"slices"
	"time"
)

// series are measurements of one thing, in the order they were taken.
type series []float64

// quantile is the q-th quantile, between the two nearest values. Of nothing it is 0.
func (s series) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

func (s series) median() float64 { return s.quantile(0.5) }

// add appends a duration in milliseconds.
func (s *series) add(d time.Duration) { *s = append(*s, float64(d)/float64(time.Millisecond)) }

// spread is the range that a tenth lies below and a tenth above.
type spread struct{ low, high float64 }

func (s series) spread() spread { return spread{s.quantile(0.1), s.quantile(0.9)} }

// over divides the measurements of each round by those of the same round.
func (s series) over(other series) series {
	ratios := make(series, min(len(s), len(other)))
	for i := range ratios {
		ratios[i] = s[i] / other[i]
	}
	return ratios
}
