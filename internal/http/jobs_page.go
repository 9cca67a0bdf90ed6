package http

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// jobsPage serves the page of GET /platform/jobs.
func (s *server) jobsPage(c *gin.Context) error {
	q := query{c: c}
	page := console.JobsPage{
		Frame: s.frame(c, "Jobs", "Jobs"), Filter: jobFilter(&q), Codes: tenancy.Codes(), Paused: c.Query("live") == "off",
	}
	page.Here = withoutJob(page.Here)
	if err := q.Err(); err != nil {
		page.Fault = tenancy.AsError(err).Message
		return s.render(c, http.StatusUnprocessableEntity, page, "list")
	}
	jobs, next, err := s.Jobs.ListJobs(c.Request.Context(), page.Filter)
	if err != nil {
		return err
	}
	page.Next = next
	for _, j := range jobs {
		page.Jobs = append(page.Jobs, console.JobRow{Job: j})
		page.Moving = page.Moving || !j.Status.Settled()
	}
	return s.render(c, http.StatusOK, page, "list")
}

// retryJobsFromPage serves the form of the failed jobs, which sends their filter.
func (s *server) retryJobsFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	r, err := s.retryAll(c, retryJobsRequest{
		ErrorCode: tenancy.Code(values.Get("errorCode")), Kind: tenancy.JobKind(values.Get("kind")), Slug: values.Get("slug"),
	})
	if err != nil {
		return err
	}
	notice := console.NoticeJobsRetried
	switch {
	case r.Retried == 0:
		notice = console.NoticeNoJobsRetried
	case r.Retried < r.Matched:
		notice = console.NoticeSomeJobsRetried
	}
	// Tried again they are failed no more, nor do they have a code.
	shown := url.Values{}
	for _, name := range []string{"kind", "slug"} {
		if value := values.Get(name); value != "" {
			shown.Set(name, value)
		}
	}
	path := "/platform/jobs"
	if len(shown) > 0 {
		path += "?" + shown.Encode()
	}
	return redirectWith(c, path, notice)
}

// jobPage serves the page of GET /platform/jobs/{jobId}.
func (s *server) jobPage(c *gin.Context) error { return s.renderJob(c, http.StatusOK, nil) }

func (s *server) renderJob(c *gin.Context, status int, faults *console.Faults) error {
	id, err := jobIDOf(c)
	if err != nil {
		return err
	}
	job, err := s.Jobs.Job(c.Request.Context(), id)
	if err != nil {
		return err
	}
	row := console.JobRow{Job: job}
	page := console.JobPage{Frame: s.frame(c, "Jobs", row.Title()), Job: row, Faults: faults}
	page.Here = jobPagePath(id) // and not that of the form that was refused
	shown := s.showJob(job)
	text, err := json.MarshalIndent(shown, "", "  ")
	if err != nil {
		return tenancy.Wrap(tenancy.CodeInternal, err, "cannot encode the job")
	}
	page.JSON = string(text)
	if e := shown.Error; e != nil {
		page.Failure = &console.JobFailure{
			Code: e.Code, Message: e.Message, Meaning: e.Meaning, Fix: e.Fix, RolledBack: e.RolledBack,
			Residue: e.Residue, RunbookURL: e.RunbookURL,
		}
		if e.Phase != nil {
			page.Failure.Phase = *e.Phase
		}
	}
	if shown.DBServer != nil {
		page.DBServer = *shown.DBServer
	}
	for i, p := range job.Phases {
		phase := console.JobPhase{PhaseRecord: p}
		if phase.Error = nil; shown.Phases[i].Error != nil {
			phase.Error = p.Error
		}
		page.Phases = append(page.Phases, phase)
	}
	if _, err := s.Tenants.Tenant(c.Request.Context(), job.Slug); err == nil {
		page.HasTenant = true
	} else if tenancy.CodeOf(err) != tenancy.CodeNotFound {
		return err
	}
	return s.render(c, status, page, "live")
}

func jobPagePath(id tenancy.JobID) string { return "/platform/jobs/" + id.String() }

// jobFaults shows the job with why something could not be done with it, or
// returns the error.
func (s *server) jobFaults(c *gin.Context, err error) error {
	faults, err := pageFaults(err)
	if err != nil {
		return err
	}
	return s.renderJob(c, outcomes[faults.Code].status, faults)
}

func (s *server) retryJobFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	job, err := s.retry(c)
	if err != nil {
		return s.jobFaults(c, err)
	}
	return redirectWith(c, backToJobs(values, job.ID), console.NoticeJobRetried)
}

func (s *server) cancelJobFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	job, err := s.cancel(c)
	if err != nil {
		return s.jobFaults(c, err)
	}
	return redirectWith(c, backToJobs(values, job.ID), console.NoticeJobCancelled)
}

// backToJobs is where a form leads: the page it names in next, or the job's.
func backToJobs(values url.Values, id tenancy.JobID) string {
	return localPath(cmp.Or(values.Get("next"), jobPagePath(id)))
}
