package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantry/tenantry/internal/phases"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// claimed counts what became of a job's wish for a prepared database, once it has one
// of whatever kind. A job that had none of its own, because there is no pool or it is
// a batch's, is not counted; nor is one that found its database there.
func (m *metrics) claimed(e pipeline.Event) {
	if e.Phase != tenancy.PhaseDatabaseCreated || e.Status != tenancy.PhaseDone || e.Job.Server == nil {
		return
	}
	place := (&pipeline.Run{Job: e.Job}).DetailOf(tenancy.PhasePlacementResolved)
	warm, _ := e.Detail[phases.DetailWarm].(bool)
	switch {
	case warm:
		m.claims.WithLabelValues(e.Job.Server.Name, "hit").Inc()
	case place[phases.DetailWarmDatabase] == nil && place[phases.DetailWarmPool] == nil:
	case e.Detail["template"] != nil || e.Detail["noTemplate"] != nil:
		m.claims.WithLabelValues(e.Job.Server.Name, "miss").Inc()
	}
}

func (m *metrics) warmed(server string, took time.Duration) {
	m.refill.WithLabelValues(server).Observe(took.Seconds())
}

// poolGauge reports the prepared databases, read from master at each scrape.
type poolGauge struct {
	servers func(context.Context) ([]tenancy.WarmServer, bool, error)
	desc    *prometheus.Desc
}

func newPoolGauge(servers func(context.Context) ([]tenancy.WarmServer, bool, error)) *poolGauge {
	return &poolGauge{servers: servers, desc: prometheus.NewDesc("tenantry_warm_databases",
		"Databases prepared ahead, by server and state.", []string{"server", "state"}, nil)}
}

func (g *poolGauge) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

func (g *poolGauge) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	servers, _, err := g.servers(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(g.desc, err)
		return
	}
	for _, s := range servers {
		count := map[tenancy.WarmState]int{}
		for _, d := range s.Databases {
			count[d.State]++
		}
		for _, state := range tenancy.WarmStates() {
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(count[state]), s.Name, string(state))
		}
	}
}
