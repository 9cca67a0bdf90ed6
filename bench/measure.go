package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// measureIdle is the memory of an api and a worker that have nothing to do.
func measureIdle(ctx context.Context, p *plane) ([]result, error) {
	select { // for the runtime to give back what the start took
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	api, err := residentMB(p.front.Process.Pid)
	if err != nil {
		return nil, err
	}
	worker, err := residentMB(p.worker.Process.Pid)
	if err != nil {
		return nil, err
	}
	return []result{{"idle api + worker, resident", fmt.Sprintf("%.0f + %.0f = %.0f MB", api, worker, api+worker), "below 100 MB"}}, nil
}

// measureSubmit is POST /platform/tenants, interleaved with bare transactions
// that insert and commit on the same server.
func measureSubmit(ctx context.Context, p *plane) ([]result, error) {
	conn, err := pgx.Connect(ctx, p.DatabaseURL)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS public.bench (id int)`); err != nil {
		return nil, err
	}
	var posts, commits []time.Duration
	for i := range 300 {
		began := time.Now()
		if _, err := p.submit(ctx, fmt.Sprintf("submit-%d", i), true); err != nil {
			return nil, err
		}
		posts = append(posts, time.Since(began))
		began = time.Now()
		if _, err := conn.Exec(ctx, `INSERT INTO public.bench VALUES ($1)`, i); err != nil {
			return nil, err
		}
		commits = append(commits, time.Since(began))
	}
	if err := p.drained(ctx, conn); err != nil {
		return nil, err
	}
	return []result{{
		"POST /platform/tenants p50, worker busy", ms(median(posts)),
		fmt.Sprintf("insert + commit %s: %s beyond it", ms(median(commits)), ms(median(posts)-median(commits))),
	}}, nil
}

// measurePoll is GET /platform/jobs/{id}, against a bare read by key.
func measurePoll(ctx context.Context, p *plane) ([]result, error) {
	id, err := p.submit(ctx, "poll", true)
	if err != nil {
		return nil, err
	}
	if err := p.settled(ctx); err != nil {
		return nil, err
	}
	bare, err := p.startBareHandler(ctx, id)
	if err != nil {
		return nil, err
	}
	read := func(ctx context.Context) error { return getBare(ctx, bare) }
	etag := ""
	whole := func(ctx context.Context) error { _, err := p.poll(ctx, id, ""); return err }
	if etag, err = p.poll(ctx, id, ""); err != nil {
		return nil, err
	}
	unchanged := func(ctx context.Context) error { _, err := p.poll(ctx, id, etag); return err }
	rates, err := interleaved(ctx, read, unchanged, whole)
	if err != nil {
		return nil, err
	}
	compare := func(rate float64) string {
		return fmt.Sprintf("a bare Gin handler with one pgx read %.0f /s: %.2f of it", rates[0], rate/rates[0])
	}
	return []result{
		{"job polls, unchanged (304), c=8", fmt.Sprintf("%.0f /s", rates[1]), compare(rates[1])},
		{"job polls, whole (200), c=8", fmt.Sprintf("%.0f /s", rates[2]), compare(rates[2])},
	}, nil
}

// interleaved is the median rate of each, taken in turns.
func interleaved(ctx context.Context, calls ...func(context.Context) error) ([]float64, error) {
	const rounds = 3
	rates := make([][]float64, len(calls))
	for range rounds {
		for i, call := range calls {
			r, err := rate(ctx, call)
			if err != nil {
				return nil, err
			}
			rates[i] = append(rates[i], r)
		}
	}
	medians := make([]float64, len(calls))
	for i := range rates {
		slices.Sort(rates[i])
		medians[i] = rates[i][rounds/2]
	}
	return medians, nil
}

// measurePickup is how long an accepted job waits for an idle worker, by the
// database's clock.
func measurePickup(ctx context.Context, p *plane) ([]result, error) {
	conn, err := pgx.Connect(ctx, p.DatabaseURL)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	var waits []time.Duration
	for i := range 100 {
		id, err := p.submit(ctx, fmt.Sprintf("pickup-%d", i), true)
		if err != nil {
			return nil, err
		}
		if err := p.drained(ctx, conn); err != nil {
			return nil, err
		}
		var wait time.Duration
		if err := conn.QueryRow(ctx, `SELECT started_at - created_at FROM identity.job WHERE job_id = $1`, id).Scan(&wait); err != nil {
			return nil, err
		}
		waits = append(waits, wait)
	}
	return []result{{"pickup by an idle worker p50", ms(median(waits)), "below 100 ms"}}, nil
}

// measureProvision is a whole tenant, interleaved with bare copies on the server it
// may be on: of template0, and of the template that the tenant's database comes from.
func measureProvision(ctx context.Context, p *plane) ([]result, error) {
	conn, err := pgx.Connect(ctx, p.DatabaseURL)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	server, err := pgx.Connect(ctx, p.DBServers[0].AdminURL)
	if err != nil {
		return nil, err
	}
	defer server.Close(ctx)
	// Until there is a template on the server: the first tenant builds it.
	template := ""
	for i := 0; template == ""; i++ {
		if _, err := p.submit(ctx, fmt.Sprintf("first-%d", i), false); err != nil {
			return nil, err
		}
		if err := p.drained(ctx, conn); err != nil {
			return nil, err
		}
		err := server.QueryRow(ctx, `SELECT coalesce(max(datname::text), '') FROM pg_database WHERE starts_with(datname::text, 'tenantry_template_')`).Scan(&template)
		if err != nil {
			return nil, err
		}
	}
	var whole, bare, copied []time.Duration
	for i := range 20 {
		began := time.Now()
		if _, err := p.submit(ctx, fmt.Sprintf("whole-%d", i), false); err != nil {
			return nil, err
		}
		if err := p.drained(ctx, conn); err != nil {
			return nil, err
		}
		whole = append(whole, time.Since(began))
		began = time.Now()
		if _, err := server.Exec(ctx, fmt.Sprintf(`CREATE DATABASE bench_%d TEMPLATE template0`, i)); err != nil {
			return nil, err
		}
		bare = append(bare, time.Since(began))
		began = time.Now()
		if _, err := server.Exec(ctx, fmt.Sprintf(`CREATE DATABASE bench_copy_%d TEMPLATE %s`, i, template)); err != nil {
			return nil, err
		}
		copied = append(copied, time.Since(began))
	}
	times := func(d []time.Duration) float64 { return float64(median(whole)) / float64(median(d)) }
	return []result{{
		"POST to complete p50, built-in migrations", ms(median(whole)),
		fmt.Sprintf("bare copy of the migrated template %s: %.2f times; of template0 %s: %.2f times",
			ms(median(copied)), times(copied), ms(median(bare)), times(bare)),
	}}, nil
}

func (p *plane) submit(ctx context.Context, slug string, dryRun bool) (jobID string, err error) {
	body, err := json.Marshal(map[string]any{
		"slug": slug, "displayName": slug, "adminEmail": "admin@bench.example", "dryRun": dryRun,
	})
	if err != nil {
		return "", err
	}
	data, err := p.send(ctx, http.MethodPost, "/platform/tenants", body, http.StatusAccepted)
	if err != nil {
		return "", err
	}
	var job struct{ JobID string }
	err = json.Unmarshal(data, &job)
	return job.JobID, err
}

// settled waits until every job is.
func (p *plane) settled(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.DatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return p.drained(ctx, conn)
}

// poll asks for a job as the console's drawer does: with the version it has.
func (p *plane) poll(ctx context.Context, id, have string) (etag string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Console+"/platform/jobs/"+id, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+p.Users[0].APIToken)
	want := http.StatusOK
	if have != "" {
		req.Header.Set("If-None-Match", have)
		want = http.StatusNotModified
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("a poll gave %d: %s", resp.StatusCode, body)
	}
	return resp.Header.Get("ETag"), err
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

func (p *plane) send(ctx context.Context, method, path string, body []byte, want int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.Console+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.Users[0].APIToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s gave %d: %s", method, path, resp.StatusCode, data)
	}
	return data, err
}

// drained waits until no job is unsettled.
func (p *plane) drained(ctx context.Context, conn *pgx.Conn) error {
	for {
		var left, failed int
		err := conn.QueryRow(ctx, `SELECT count(*) FILTER (WHERE status IN ('queued', 'running', 'rolling_back')),
			count(*) FILTER (WHERE status = 'failed') FROM identity.job`).Scan(&left, &failed)
		if err != nil {
			return err
		}
		if failed > 0 {
			return fmt.Errorf("%d jobs failed", failed)
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// rate is how often per second eight callers get f done, over three seconds.
func rate(ctx context.Context, f func(context.Context) error) (float64, error) {
	const callers, span = 8, time.Second
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var wait sync.WaitGroup
	began := time.Now()
	for range callers {
		wait.Go(func() {
			for time.Since(began) < span && ctx.Err() == nil {
				if err := f(ctx); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / time.Since(began).Seconds(), ctx.Err()
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }
