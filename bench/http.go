package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// callers is how many ask at the same time.
const callers = 8

// endpoint is what is asked as often as it can be.
type endpoint struct {
	call func(context.Context) error
	// of each round
	rates, p99 series
}

// measureHTTP is how many requests a second the api serves, and how late the last in
// a hundred is, in turns with a bare handler. No worker runs meanwhile: what is
// posted stays queued.
func measureHTTP(ctx context.Context, b *bench) error {
	p := b.cold
	j, err := p.provision(ctx, "")
	if err != nil {
		return err
	}
	p.stopWorkers()
	_, etag, err := p.poll(ctx, j.JobID, "")
	if err != nil {
		return err
	}
	bare, err := p.startBare(ctx)
	if err != nil {
		return err
	}
	defer bare.process.end()
	poll := func(etag string) func(context.Context) error {
		want := http.StatusOK
		if etag != "" {
			want = http.StatusNotModified
		}
		return func(ctx context.Context) error {
			_, _, _, err := p.do(ctx, http.MethodGet, "/platform/jobs/"+j.JobID, nil, etag, want)
			return err
		}
	}
	read := &endpoint{call: func(ctx context.Context) error {
		return bare.ask(ctx, http.MethodGet, "/jobs/"+j.JobID, nil, http.StatusOK)
	}}
	insert := &endpoint{call: func(ctx context.Context) error {
		return bare.ask(ctx, http.MethodPost, "/tenants", p.newTenant(""), http.StatusAccepted)
	}}
	unchanged, whole := &endpoint{call: poll(etag)}, &endpoint{call: poll("")}
	post := &endpoint{call: func(ctx context.Context) error {
		_, err := p.submit(ctx, p.newTenant(""))
		return err
	}}
	for range b.rounds(5, 2) {
		for _, e := range []*endpoint{read, unchanged, whole, insert, post} {
			if err := e.load(ctx, time.Duration(b.rounds(1000, 400))*time.Millisecond); err != nil {
				return err
			}
		}
	}
	for _, l := range []struct {
		target      target
		of, against *endpoint
	}{
		{pollsOverBare, unchanged, read},
		{target{what: "job polls per second, whole (200) / bare Gin + one pgx read"}, whole, read},
		{target{what: "POST /platform/tenants per second / bare Gin + one insert"}, post, insert},
	} {
		line := ratio(l.target, l.of.rates, l.against.rates, "/s")
		line.measured, line.against = l.of.String(), l.against.String()
		b.add(line)
	}
	return nil
}

func (e *endpoint) String() string {
	return fmt.Sprintf("%.0f /s, p99 %s", e.rates.median(), amount(e.p99.median(), "ms"))
}

// load has the callers ask for so long.
func (e *endpoint) load(ctx context.Context, span time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var each [callers]series
	var wait sync.WaitGroup
	began := time.Now()
	for i := range each {
		wait.Go(func() {
			for time.Since(began) < span && ctx.Err() == nil {
				asked := time.Now()
				if err := e.call(ctx); err != nil {
					cancel(err)
					return
				}
				each[i].add(time.Since(asked))
			}
		})
	}
	wait.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	took := time.Since(began)
	var all series
	for _, times := range each {
		all = append(all, times...)
	}
	e.rates = append(e.rates, float64(len(all))/took.Seconds())
	e.p99 = append(e.p99, all.quantile(0.99))
	return nil
}

// bareServer is a bare handler that runs.
type bareServer struct {
	process *process
	url     string
}

// startBare starts the bare handler on the plane's master.
func (p *plane) startBare(ctx context.Context) (bareServer, error) {
	_, err := p.master.Exec(ctx, `CREATE TABLE public.bench_tenant (slug text PRIMARY KEY, display_name text NOT NULL, admin_email text NOT NULL)`)
	if err != nil {
		return bareServer{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return bareServer{}, err
	}
	addr, err := freeAddr()
	if err != nil {
		return bareServer{}, err
	}
	s := bareServer{url: "http://" + addr}
	s.process, err = launch(p.dir, bareHandlerArg, self, []string{"DATABASE_URL=" + p.ready.DatabaseURL, "HTTP_ADDR=" + addr}, bareHandlerArg)
	if err != nil {
		return s, err
	}
	err = s.process.until(ctx, func() bool {
		return s.ask(ctx, http.MethodGet, "/", nil, http.StatusNotFound) == nil
	})
	if err != nil {
		s.process.end()
	}
	return s, err
}

func (s bareServer) ask(ctx context.Context, method, path string, in any, want int) error {
	var body []byte
	var err error
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("the bare handler gave %d: %s", resp.StatusCode, data)
	}
	return err
}
