package http

import (
	"cmp"
	"time"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// pollAfterMs is how often a watcher should ask for a job.
const pollAfterMs = 1500

// jobJSON is a job as the contract shows it, and more. It leaves out the first
// admin's address, which is nobody's business but the mail's.
type jobJSON struct {
	JobID       tenancy.JobID     `json:"jobId"`
	Kind        tenancy.JobKind   `json:"kind"`
	Status      tenancy.JobStatus `json:"status"`
	TenantID    tenancy.TenantID  `json:"tenantId"`
	Slug        tenancy.Slug      `json:"slug"`
	DisplayName string            `json:"displayName"`
	DBServer    *string           `json:"dbServer"`
	DryRun      bool              `json:"dryRun"`
	// Offboarding is what an offboard job is to do.
	Offboarding     *tenancy.Offboarding `json:"offboarding,omitempty"`
	Phase           *tenancy.PhaseName   `json:"phase"`
	Attempt         int                  `json:"attempt"`
	Failures        int                  `json:"failures"`
	Phases          []phaseJSON          `json:"phases"`
	Error           *jobErrorJSON        `json:"error"`
	RequestedBy     requesterJSON        `json:"requestedBy"`
	CancelRequested bool                 `json:"cancelRequested"`
	CreatedAt       time.Time            `json:"createdAt"`
	StartedAt       *time.Time           `json:"startedAt"`
	FinishedAt      *time.Time           `json:"finishedAt"`
	PollAfterMs     int                  `json:"pollAfterMs"`
	Version         int64                `json:"version"`
}

type phaseJSON struct {
	Name       tenancy.PhaseName   `json:"name"`
	Status     tenancy.PhaseStatus `json:"status"`
	StartedAt  *time.Time          `json:"startedAt"`
	FinishedAt *time.Time          `json:"finishedAt"`
	Detail     map[string]any      `json:"detail"`
	// Error is why an unsettled job's phase is tried again or undone.
	Error *phaseErrorJSON `json:"error"`
}

type phaseErrorJSON struct {
	Code    tenancy.Code `json:"code"`
	Message string       `json:"message"`
}

type jobErrorJSON struct {
	Code       tenancy.Code       `json:"code"`
	Message    string             `json:"message"`
	Phase      *tenancy.PhaseName `json:"phase"`
	RolledBack bool               `json:"rolledBack"`
	Residue    []string           `json:"residue"`
	RunbookURL string             `json:"runbookUrl"`
	// Meaning and Fix are the first words of the page at RunbookURL.
	Meaning string `json:"meaning"`
	Fix     string `json:"fix"`
}

type requesterJSON struct {
	PlatformUserID *tenancy.UserID `json:"platformUserId"`
	Actor          string          `json:"actor"`
}

// showJob names the server the tenant goes to or, until that is resolved, the
// one asked for.
func (s *server) showJob(j tenancy.Job) jobJSON {
	server := j.ServerName
	if j.Server != nil {
		server = j.Server.Name
	}
	shown := jobJSON{
		JobID: j.ID, Kind: j.Kind, Status: j.Status, TenantID: j.TenantID, Slug: j.Slug,
		DisplayName: j.DisplayName, DBServer: orNull(server), DryRun: j.DryRun, Phase: orNull(j.Phase),
		Attempt: j.Attempt, Failures: j.Failures, Phases: make([]phaseJSON, len(j.Phases)),
		RequestedBy:     requesterJSON{PlatformUserID: orNull(j.RequestedBy.UserID), Actor: j.RequestedBy.Name},
		CancelRequested: j.CancelRequested,
		CreatedAt:       j.CreatedAt.UTC(), StartedAt: utc(j.StartedAt), FinishedAt: utc(j.FinishedAt),
		PollAfterMs: pollAfterMs, Version: j.Version,
	}
	if j.Kind == tenancy.KindOffboard {
		shown.Offboarding = &j.Offboarding
	}
	for i, p := range j.Phases {
		shown.Phases[i] = showPhase(p, j.Status.Settled())
	}
	if e := j.Error; e != nil {
		code := cmp.Or(e.Code, tenancy.CodeDependencyUnavailable)
		help := console.HelpFor(code)
		shown.Error = &jobErrorJSON{
			Code: code, Meaning: help.Meaning, Fix: help.Fix, Phase: orNull(e.Phase), RolledBack: e.RolledBack,
			Message: cmp.Or(e.Message, "The job was cancelled, and what it made cannot be removed yet."),
			Residue: append([]string{}, e.Residue...), RunbookURL: s.DocsURL + string(code),
		}
	}
	return shown
}

func showPhase(p tenancy.PhaseRecord, settled bool) phaseJSON {
	shown := phaseJSON{
		Name: p.Name, Status: p.Status, StartedAt: utc(p.StartedAt), FinishedAt: utc(p.FinishedAt), Detail: p.Detail,
	}
	if shown.Detail == nil {
		shown.Detail = map[string]any{}
	}
	if p.Error != nil && !settled {
		shown.Error = &phaseErrorJSON{Code: p.Error.Code, Message: p.Error.Message}
	}
	return shown
}
