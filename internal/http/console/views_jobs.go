package console

import (
	"encoding/json"
	"fmt"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// JobsPage lists the jobs.
type JobsPage struct {
	Frame
	Filter tenancy.JobFilter
	Codes  []tenancy.Code
	Jobs   []JobRow
	Next   string
	// Moving says that something on the page is not settled.
	Moving bool
	// Paused says that the reader wants the page to stay as it is.
	Paused bool
	Fault  string
}

func (JobsPage) template() string { return "jobs" }

// Filtered reports whether the list is narrowed down.
func (p JobsPage) Filtered() bool {
	return p.Filter.Status != "" || p.Filter.Kind != "" || p.Filter.Slug != "" || p.Filter.Code != ""
}

// Live reports whether the list refreshes itself.
func (p JobsPage) Live() bool { return p.Moving && !p.Paused }

// Statuses are what the list can be narrowed down to.
func (JobsPage) Statuses() []tenancy.JobStatus {
	return []tenancy.JobStatus{
		tenancy.JobQueued, tenancy.JobRunning, tenancy.JobRollingBack, tenancy.JobComplete, tenancy.JobFailed, tenancy.JobCancelled,
	}
}

// Kinds are what the list can be narrowed down to.
func (JobsPage) Kinds() []tenancy.JobKind {
	return []tenancy.JobKind{tenancy.KindProvision, tenancy.KindOffboard}
}

// Toggle is the address that pauses or resumes the refresh, on the same page of
// the list.
func (p JobsPage) Toggle() string {
	live := "off"
	if p.Paused {
		live = ""
	}
	return query(query(p.Here, "live", live), "cursor", p.Filter.Page.Cursor)
}

// JobRow is a job as people speak of it.
type JobRow struct{ tenancy.Job }

// What says in words what the job does.
func (r JobRow) What() string {
	switch {
	case r.Kind == tenancy.KindProvision && r.DryRun:
		return "Dry run"
	case r.Kind == tenancy.KindProvision:
		return "Provision"
	case r.Offboarding.Purge:
		return "Purge"
	case r.Offboarding.Cancel:
		return "Take back"
	}
	return "Offboard"
}

// Title is what the job does, and to whom.
func (r JobRow) Title() string {
	if r.DryRun {
		return "Dry run of " + string(r.Slug)
	}
	return r.What() + " " + string(r.Slug)
}

// Irreversible reports whether what the job did cannot be undone.
func (r JobRow) Irreversible() bool { return r.Job.Irreversible() }

// Retryable reports whether the job can be tried again.
func (r JobRow) Retryable() bool { return r.Status == tenancy.JobFailed }

// Cancellable reports whether the job can still be cancelled.
func (r JobRow) Cancellable() bool {
	begun := r.Irreversible() && (r.Status == tenancy.JobRunning || r.Attempt > 1)
	return (r.Status == tenancy.JobQueued || r.Status == tenancy.JobRunning) && !begun && !r.CancelRequested
}

// JobPage shows a job.
type JobPage struct {
	Frame
	Job    JobRow
	Phases []JobPhase
	// DBServer is where the tenant is or goes, "" while that is open.
	DBServer string
	// HasTenant says that the slug has a tenant now.
	HasTenant bool
	Failure   *JobFailure
	// JSON is the job as the API shows it.
	JSON   string
	Faults *Faults
}

func (JobPage) template() string { return "job" }

// Live reports whether the page refreshes itself.
func (p JobPage) Live() bool { return !p.Job.Status.Settled() }

// JobPhase is a phase of a job. Its Error is why it is tried again or undone.
type JobPhase struct{ tenancy.PhaseRecord }

// Facts are the phase's details, by name.
func (p JobPhase) Facts() map[string]string {
	facts := make(map[string]string, len(p.Detail))
	for name, value := range p.Detail {
		if said, ok := value.(string); ok {
			facts[name] = said
			continue
		}
		text, err := json.Marshal(value)
		if err != nil { // it came from JSON
			text = []byte(fmt.Sprint(value))
		}
		facts[name] = string(text)
	}
	return facts
}

// JobFailure is a job's error as the API tells it.
type JobFailure struct {
	Code         tenancy.Code
	Message      string
	Meaning, Fix string
	Phase        tenancy.PhaseName
	RolledBack   bool
	Residue      []string
	RunbookURL   string
}
