package main

import "fmt"

// target is what a line is to reach, and the floor below which the bench fails.
type target struct {
	// what is measured, and the same in a few words for a chart.
	what, short   string
	target, floor float64
	// atLeast: more is better.
	atLeast bool
	unit    string
}

// The promises. Each is a ratio of two medians of one run, but for the last.
var (
	warmOverTemplate0 = target{what: "warm POST → complete / bare CREATE DATABASE (template0)", short: "warm / bare CREATE DATABASE", target: 0.7, floor: 1.5}
	coldOverCopy      = target{what: "cold POST → complete / bare copy of the migrated template", short: "cold / bare copy of the template", target: 1.4, floor: 1.8}
	shellOverCold     = target{what: "the shell way / cold", short: "shell / cold", target: 6, floor: 4, atLeast: true}
	shellOverWarm     = target{what: "the shell way / warm", short: "shell / warm", target: 30, floor: 15, atLeast: true}
	bulkOverClones    = target{what: "bulk, tenants per second / bare clones per second", short: "bulk / bare clones", target: 0.9, floor: 0.75, atLeast: true}
	growth            = target{what: "warm, 500th tenant / 10th", short: "500th / 10th tenant", target: 1.2, floor: 1.5}
	commitRefilling   = target{what: "control commit, pool refilling / idle", short: "commits, refilling / idle", target: 1.5, floor: 2}
	pollsOverBare     = target{what: "job polls per second, unchanged (304) / bare Gin + one pgx read", short: "job polls / bare Gin", target: 0.7, floor: 0.5, atLeast: true}
	idleMemory        = target{what: "idle api + worker, resident", short: "idle api + worker", target: 60, floor: 100, unit: " MB"}

	targets = []target{
		warmOverTemplate0, coldOverCopy, shellOverCold, shellOverWarm, bulkOverClones,
		growth, commitRefilling, pollsOverBare, idleMemory,
	}
)

type verdict string

const (
	targetMet verdict = "target met"
	floorMet  verdict = "floor met"
	missed    verdict = "missed"
	// unmeasured is a promise whose section failed.
	unmeasured verdict = "not measured"
	// skipped is one that a quick run does not look at.
	skipped verdict = "in a whole run"
)

// judge compares a value as it is shown, to two decimals, with the target and the
// floor.
func (t target) judge(value float64) verdict {
	meets := func(bound float64) bool {
		if t.atLeast {
			return value >= bound-0.005
		}
		return value < bound+0.005
	}
	switch {
	case meets(t.target):
		return targetMet
	case meets(t.floor):
		return floorMet
	}
	return missed
}

// bound is a target or a floor as it is written.
func (t target) bound(value float64) string {
	sign := "≤"
	if t.atLeast {
		sign = "≥"
	}
	return fmt.Sprintf("%s %v%s", sign, value, t.unit)
}
