package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: time.Minute}

// pollInterval is the pause between two polls of a job that is waited for. It is no
// part of what is measured, and often enough would take from it: the clients, the api
// and master share the processors with what they wait for.
const pollInterval = 10 * time.Millisecond

// job is what the bench reads of one.
type job struct {
	JobID, Status string
	FinishedAt    time.Time
	Phases        []struct {
		Name   string
		Detail struct {
			Template, NoTemplate string
			Warm                 bool
		}
	}
	Error *struct{ Code, Message string }
}

func (j job) settled() bool {
	return j.Status == "complete" || j.Status == "failed" || j.Status == "cancelled"
}

// origin is where the database came from: a template, the pool, or neither.
func (j job) origin() (template string, warm bool) {
	for _, p := range j.Phases {
		if p.Name == "database_created" {
			return p.Detail.Template, p.Detail.Warm
		}
	}
	return "", false
}

// do sends a request as the platform's administrator. It returns the body and the
// ETag; a status other than want is an error.
func (p *plane) do(ctx context.Context, method, path string, body []byte, etag string, want ...int) (status int, data []byte, tag string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, p.apiURL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	req.Header.Set("Authorization", "Bearer "+p.ready.Users[0].APIToken)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	if data, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil, "", err
	}
	for _, w := range want {
		if resp.StatusCode == w {
			return resp.StatusCode, data, resp.Header.Get("ETag"), nil
		}
	}
	return 0, nil, "", fmt.Errorf("%s %s gave %d: %s", method, path, resp.StatusCode, data)
}

// send sends in as JSON and reads the answer into out; both may be nil.
func (p *plane) send(ctx context.Context, method, path string, in any, want int, out any) error {
	var body []byte
	var err error
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	_, data, _, err := p.do(ctx, method, path, body, "", want)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(data, out)
}

// newTenant is the request for one more tenant. An empty server leaves the choice
// to the placement.
func (p *plane) newTenant(server string) map[string]any {
	slug := fmt.Sprintf("tenant-%05d", p.slugs.Add(1))
	return map[string]any{"slug": slug, "displayName": slug, "adminEmail": "admin@" + slug + ".example", "dbServer": server}
}

// submit asks for a tenant and returns the job's id.
func (p *plane) submit(ctx context.Context, tenant map[string]any) (string, error) {
	var j job
	err := p.send(ctx, http.MethodPost, "/platform/tenants", tenant, http.StatusAccepted, &j)
	return j.JobID, err
}

// poll asks for a job unless it is as etag says; then the job is empty.
func (p *plane) poll(ctx context.Context, id, etag string) (j job, tag string, err error) {
	status, data, tag, err := p.do(ctx, http.MethodGet, "/platform/jobs/"+id, nil, etag, http.StatusOK, http.StatusNotModified)
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal(data, &j)
	}
	return j, tag, err
}

// settle polls a job until it is complete. One that ends otherwise is an error.
func (p *plane) settle(ctx context.Context, id string) (j job, err error) {
	etag := ""
	err = wait(ctx, pollInterval, func() (bool, error) {
		if j, etag, err = p.poll(ctx, id, etag); err != nil || !j.settled() {
			return false, err
		}
		if j.Status != "complete" {
			return false, fmt.Errorf("job %s is %s: %+v", id, j.Status, j.Error)
		}
		return true, nil
	})
	return j, err
}

// provision makes a tenant and returns its job once it is complete.
func (p *plane) provision(ctx context.Context, server string) (job, error) {
	id, err := p.submit(ctx, p.newTenant(server))
	if err != nil {
		return job{}, err
	}
	return p.settle(ctx, id)
}

// timedProvision is provision, with the time from before the POST to when the job was
// complete, by the clock that master and the bench share.
func (p *plane) timedProvision(ctx context.Context, server string) (time.Duration, job, error) {
	tenant := p.newTenant(server)
	began := time.Now()
	id, err := p.submit(ctx, tenant)
	if err != nil {
		return 0, job{}, err
	}
	j, err := p.settle(ctx, id)
	return j.FinishedAt.Sub(began), j, err
}
