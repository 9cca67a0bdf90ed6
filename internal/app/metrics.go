package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof" //nolint:gosec // its own mux is served nowhere
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tenantry/tenantry/internal/doctor"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// metrics is one process's registry; docs/operations.md lists the names.
type metrics struct {
	registry *prometheus.Registry
	settled  *prometheus.CounterVec
	retries  *prometheus.CounterVec
	phases   *prometheus.HistogramVec
	diverge  *prometheus.GaugeVec
	claims   *prometheus.CounterVec
	refill   *prometheus.HistogramVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tenantry_jobs_settled_total", Help: "Jobs this worker settled, by kind, status and error code.",
		}, []string{"kind", "status", "code"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tenantry_phase_retries_total", Help: "Transient failures of phases, by phase and error code.",
		}, []string{"phase", "code"}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tenantry_phase_seconds", Help: "Time of a phase's Do or Undo, by phase and outcome.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
		}, []string{"phase", "outcome"}),
		diverge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tenantry_divergences", Help: "What tenantctl doctor finds, by kind; on the one worker that looks.",
		}, []string{"kind"}),
		claims: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tenantry_warm_claims_total", Help: "Databases that jobs took from the pool of prepared ones (hit), or had to copy (miss).",
		}, []string{"server", "result"}),
		refill: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tenantry_warm_refill_seconds", Help: "Time to prepare a database for the pool.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 10),
		}, []string{"server"}),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.settled, m.retries, m.phases, m.diverge, m.claims, m.refill)
	return m
}

// observe counts a runner's events.
func (m *metrics) observe(e pipeline.Event) {
	switch {
	case e.Settled != "":
		m.settled.WithLabelValues(string(e.Job.Kind), string(e.Settled), string(tenancy.CodeOf(e.Err))).Inc()
	case e.Retry > 0:
		m.retries.WithLabelValues(string(e.Phase), string(tenancy.CodeOf(e.Err))).Inc()
	case e.Status != tenancy.PhaseRunning:
		m.phases.WithLabelValues(string(e.Phase), string(e.Status)).Observe(e.Elapsed.Seconds())
		m.claimed(e)
	}
}

// diverged counts a doctor's findings. Every kind is set, so that what was mended
// goes back to zero.
func (m *metrics) diverged(findings []doctor.Finding) {
	count := map[doctor.Kind]int{}
	for _, f := range findings {
		count[f.Kind]++
	}
	for _, kind := range doctor.Kinds() {
		m.diverge.WithLabelValues(string(kind)).Set(float64(count[kind]))
	}
}

// backlog reports what is not settled, read from master at each scrape.
type backlog struct {
	stats func(context.Context) (store.Stats, error)
	jobs  *prometheus.Desc
	items map[string]*prometheus.Desc
}

func newBacklog(stats func(context.Context) (store.Stats, error)) *backlog {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tenantry_"+name, help, labels, nil)
	}
	return &backlog{
		stats: stats,
		jobs:  desc("jobs", "Jobs that are not settled, by status.", "status"),
		items: map[string]*prometheus.Desc{
			"residue":     desc("jobs_with_residue", "Jobs that could not be undone yet."),
			"outbox":      desc("outbox_pending", "Doorbells that Redis has not taken yet."),
			"invitations": desc("invitations_pending", "Invitations and password resets not sent yet."),
		},
	}
}

func (b *backlog) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(b, ch) }

func (b *backlog) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	st, err := b.stats(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(b.jobs, err)
		return
	}
	for status, n := range st.Jobs {
		ch <- prometheus.MustNewConstMetric(b.jobs, prometheus.GaugeValue, float64(n), string(status))
	}
	for name, n := range map[string]int{"residue": st.Residue, "outbox": st.Outbox, "invitations": st.Invitations} {
		ch <- prometheus.MustNewConstMetric(b.items[name], prometheus.GaugeValue, float64(n))
	}
}

// serve serves /metrics, /healthz and /readyz on addr until ctx ends, and the
// profiles that tell where time and memory go. An empty addr serves nothing.
func (m *metrics) serve(ctx context.Context, addr string, ready func(context.Context) error) error {
	if addr == "" {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if ready(ctx) != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	for _, name := range []string{"heap", "goroutine"} {
		mux.Handle("GET /debug/pprof/"+name, pprof.Handler(name))
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(errors.New("cannot listen on METRICS_ADDR"), err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
