package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/internal/doctor"
)

// world is what several examiners look at: one of them leads at a time.
type world struct {
	mu       sync.Mutex
	leads    bool
	looks    int
	findings []doctor.Finding
	err      error
}

func (w *world) lead(ctx context.Context, _ string, f func(context.Context) error) error {
	w.mu.Lock()
	taken := w.leads
	w.leads = true
	w.mu.Unlock()
	if taken {
		return nil
	}
	defer w.set(func() { w.leads = false })
	return f(ctx)
}

func (w *world) examine(ctx context.Context) ([]doctor.Finding, error) {
	pause(ctx, time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	return w.findings, w.err
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// divergences is what a worker's metric says of all kinds together; shown is false if it
// has none.
func divergences(t *testing.T, m *metrics) (n float64, shown bool) {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "tenantry_divergences" {
			continue
		}
		for _, metric := range f.GetMetric() {
			n, shown = n+metric.GetGauge().GetValue(), true
		}
	}
	return n, shown
}

// Of workers that start together one looks and has the metric, until it ends.
func TestOneWorkerLooksForDivergencesAndHasTheMetric(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{findings: []doctor.Finding{{Kind: doctor.MissingSecret}}}
		const workers = 3
		var all [workers]*metrics
		var stop [workers]context.CancelFunc
		var wait sync.WaitGroup
		for i := range workers {
			all[i] = newMetrics()
			ctx, cancel := context.WithCancel(t.Context())
			stop[i] = cancel
			wait.Go(func() { examiner{w.lead, w.examine, all[i], slog.New(slog.DiscardHandler)}.run(ctx) })
		}
		want := func(when string, after time.Duration, found float64) (leader int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			leader = -1
			for i, m := range all {
				n, shown := divergences(t, m)
				if !shown {
					continue
				}
				if leader >= 0 {
					t.Errorf("%s: worker %d has the metric as well as %d", when, i, leader)
				}
				if leader = i; n != found {
					t.Errorf("%s: worker %d says %v, want %v", when, i, n, found)
				}
			}
			return leader
		}

		// Off the minute, on which all of them do something.
		leader := want("after an hour", time.Hour+30*time.Second, 1)
		w.set(func() {
			if w.looks < 11 || w.looks > 13 {
				t.Errorf("%d looks in an hour, want one every 5 minutes", w.looks)
			}
			w.findings = nil
		})
		if mended := want("when it is mended", examineInterval+10*time.Second, 0); mended != leader || leader < 0 {
			t.Fatalf("worker %d leads after %d", mended, leader)
		}

		w.set(func() { w.findings = []doctor.Finding{{Kind: doctor.MissingSecret}} })
		stop[leader]()
		if next := want("when the leader has gone", examineStandby+10*time.Second, 1); next < 0 || next == leader {
			t.Errorf("worker %d leads after %d", next, leader)
		}

		w.set(func() { w.err = errors.New("master does not answer") })
		if next := want("when nobody can look", examineInterval+10*time.Second, 0); next >= 0 {
			t.Errorf("worker %d has the metric", next)
		}
		w.set(func() { w.err = nil })
		if next := want("when one can again", examineStandby+10*time.Second, 1); next < 0 {
			t.Error("nobody has the metric")
		}
		for i := range workers {
			stop[i]()
		}
		wait.Wait()
	})
}
