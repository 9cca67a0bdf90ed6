package tenancy

import (
	"errors"
	"time"
)

// JobKind is what a job does.
type JobKind string

// The kinds of jobs.
const (
	// KindProvision makes a tenant.
	KindProvision JobKind = "provision"
	// KindOffboard begins a tenant's end, takes that back, or purges a tenant.
	KindOffboard JobKind = "offboard"
)

// Valid reports whether k is a known kind.
func (k JobKind) Valid() bool { return k == KindProvision || k == KindOffboard }

// Offboarding says what an offboard job is to do. At most one of Purge and
// Cancel is set; neither means to begin the retention.
type Offboarding struct {
	// Purge removes database, roles, secret and master row for good.
	Purge bool `json:"purge,omitempty"`
	// Cancel brings an offboarding tenant back.
	Cancel bool `json:"cancel,omitempty"`
	// Now ends the application's sessions and lets it in no more; otherwise it
	// may still read until the tenant is purged.
	Now bool `json:"now,omitempty"`
	// NoBackup purges without a final dump.
	NoBackup bool `json:"noBackup,omitempty"`
	// Adopt purges what cannot be shown to be the tenant's too.
	Adopt bool `json:"adopt,omitempty"`
	// RetentionDays is how long the data is kept; 0 means DefaultRetentionDays.
	RetentionDays int `json:"retentionDays,omitempty"`
}

// DefaultRetentionDays is how long an offboarding tenant is kept (domain.md).
const DefaultRetentionDays = 30

// Access is what a tenant's application role may do in its database.
type Access int

// The levels of access.
const (
	AccessFull Access = iota
	AccessReadOnly
	// AccessNone: no new sessions, and those there are ended.
	AccessNone
)

// Backup describes a final dump: of which server's database, and where it is.
type Backup struct {
	Server string `json:"server"`
	Host   string `json:"host"`
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// JobStatus is where a job stands. internal/pipeline draws the transitions.
type JobStatus string

// The statuses of a job.
const (
	JobQueued      JobStatus = "queued"
	JobRunning     JobStatus = "running"
	JobRollingBack JobStatus = "rolling_back"
	JobComplete    JobStatus = "complete"
	JobFailed      JobStatus = "failed"
	JobCancelled   JobStatus = "cancelled"
)

// Settled reports whether nothing more will happen to the job by itself.
func (s JobStatus) Settled() bool {
	return s == JobComplete || s == JobFailed || s == JobCancelled
}

// Valid reports whether s is a known status.
func (s JobStatus) Valid() bool {
	return s.Settled() || s == JobQueued || s == JobRunning || s == JobRollingBack
}

// PhaseName names a phase. Names are stored and never change.
type PhaseName string

// The phases of provisioning: the runbook's eight, and the one a dry run ends
// its work with.
const (
	PhasePlacementResolved PhaseName = "placement_resolved"
	PhaseStateChecked      PhaseName = "state_checked"
	PhaseDryRun            PhaseName = "dry_run"
	PhaseSecretSet         PhaseName = "secret_set"
	PhaseDatabaseCreated   PhaseName = "database_created"
	PhaseMigrationsApplied PhaseName = "migrations_applied"
	PhaseMasterRegistered  PhaseName = "master_registered"
	PhaseAdminSeeded       PhaseName = "admin_seeded"
	PhaseComplete          PhaseName = "complete"
)

// The phases of offboarding.
const (
	PhaseRetentionStarted   PhaseName = "retention_started"
	PhaseTenantReadmitted   PhaseName = "tenant_readmitted"
	PhaseOwnershipProven    PhaseName = "ownership_proven"
	PhaseBackupTaken        PhaseName = "backup_taken"
	PhaseDatabaseDropped    PhaseName = "database_dropped"
	PhaseSecretDeleted      PhaseName = "secret_deleted"
	PhaseMasterUnregistered PhaseName = "master_unregistered"
)

// OffboardPhases lists the phases of an offboard job in their order.
func OffboardPhases(o Offboarding) []PhaseName {
	switch {
	case o.Purge:
		return []PhaseName{
			PhaseOwnershipProven, PhaseBackupTaken, PhaseDatabaseDropped, PhaseSecretDeleted,
			PhaseMasterUnregistered, PhaseComplete,
		}
	case o.Cancel:
		return []PhaseName{PhaseTenantReadmitted, PhaseComplete}
	}
	return []PhaseName{PhaseRetentionStarted, PhaseComplete}
}

// ProvisionPhases lists the phases of a provision job in their order.
func ProvisionPhases(dryRun bool) []PhaseName {
	if dryRun {
		return []PhaseName{PhasePlacementResolved, PhaseStateChecked, PhaseDryRun, PhaseComplete}
	}
	return []PhaseName{
		PhasePlacementResolved, PhaseStateChecked, PhaseSecretSet, PhaseDatabaseCreated,
		PhaseMigrationsApplied, PhaseMasterRegistered, PhaseAdminSeeded, PhaseComplete,
	}
}

// PhaseStatus is where a phase of a job stands.
type PhaseStatus string

// The statuses of a phase. A failed phase is undone too; it stays failed, so
// that the job shows where it stopped.
const (
	PhasePending PhaseStatus = "pending"
	PhaseRunning PhaseStatus = "running"
	PhaseDone    PhaseStatus = "done"
	PhaseFailed  PhaseStatus = "failed"
	PhaseUndone  PhaseStatus = "undone"
	PhaseSkipped PhaseStatus = "skipped"
)

// JobVersion tells whether a job has changed since somebody looked.
type JobVersion struct {
	Version int64
	Settled bool
}

// Job is one piece of work on a tenant, as recorded in master. The row is the
// truth; whatever else speaks of the job only points at it.
type Job struct {
	ID       JobID
	Kind     JobKind
	Status   JobStatus
	TenantID TenantID
	Slug     Slug
	DryRun   bool

	DisplayName string
	AdminEmail  string
	// ServerName is the server the operator asked for; empty means auto-place.
	ServerName string
	// Server is where the tenant goes, once placement is resolved.
	Server *DBServer
	// Offboarding is what an offboard job is to do.
	Offboarding Offboarding

	Phase PhaseName
	// Attempt counts from 1; an operator's retry begins the next.
	Attempt int
	// Failures counts the transient failures of this attempt.
	Failures int
	Phases   []PhaseRecord
	Error    *JobError

	// Bulk says that the job is one of many, and that nobody waits for it alone.
	Bulk bool

	RequestedBy     Actor
	RequestID       string
	CancelRequested bool
	CreatedAt       time.Time
	StartedAt       *time.Time
	FinishedAt      *time.Time
	// Version rises with every visible change of the job.
	Version int64
}

// PhaseRecord is the journal of one phase of a job.
type PhaseRecord struct {
	Name       PhaseName
	Status     PhaseStatus
	StartedAt  *time.Time
	FinishedAt *time.Time
	UndoneAt   *time.Time
	// Detail is what the phase decided or found; it never holds a secret.
	Detail map[string]any
	// Error is the last failure of the phase, while it is being tried again too.
	Error *PhaseError
}

// Started reports whether the phase may have had an effect that still stands.
func (p PhaseRecord) Started() bool { return p.StartedAt != nil && p.UndoneAt == nil }

// Progress is what a run adds to a job's journal: the phases that are done, in their
// order, and the one that begins, if any.
type Progress struct {
	Done []DonePhase
	Next PhaseName
}

// DonePhase is a phase that a run has just done.
type DonePhase struct {
	Name         PhaseName
	Detail       map[string]any
	Began, Ended time.Time // by the worker's clock
}

// ErrCancelRequested says that nothing was completed because an operator asked to
// cancel the job.
var ErrCancelRequested = errors.New("an operator asked to cancel the job")

// PhaseError is the failure of a phase, in words safe to show.
type PhaseError struct {
	Code    Code
	Message string
}

// JobError is why a job failed or is being rolled back.
type JobError struct {
	// Code is empty if the job was cancelled.
	Code    Code
	Message string
	Phase   PhaseName
	// RolledBack says that everything the job made is gone.
	RolledBack bool
	// Residue names what could not be removed yet.
	Residue []string
}

// Err is the failure as an error.
func (e *JobError) Err() *Error { return &Error{Code: e.Code, Message: e.Message} }

// Ownership is the mark the job leaves on everything it makes.
func (j *Job) Ownership() Ownership {
	return Ownership{TenantID: j.TenantID, JobID: j.ID}
}

// AsSubmitted returns the job as it was when it was accepted.
func (j Job) AsSubmitted() Job {
	j.Status, j.Phase, j.Error = JobQueued, "", nil
	if j.Kind != KindOffboard { // whose server is known from the start
		j.Server = nil
	}
	j.Attempt, j.Failures, j.Version = 1, 0, 1
	j.StartedAt, j.FinishedAt, j.CancelRequested = nil, nil, false
	phases := make([]PhaseRecord, len(j.Phases))
	for i, p := range j.Phases {
		phases[i] = PhaseRecord{Name: p.Name, Status: PhasePending}
	}
	j.Phases = phases
	return j
}

// Irreversible reports whether what the job did cannot be undone: such a job is
// not rolled back when it fails, and a retry goes on where it stopped.
func (j *Job) Irreversible() bool { return j.Kind == KindOffboard && j.Offboarding.Purge }

// NewJob is a request to provision or, with KindOffboard, to offboard a tenant.
type NewJob struct {
	// Kind is KindProvision if empty.
	Kind        JobKind
	Slug        Slug
	DisplayName string
	AdminEmail  string
	ServerName  string
	DryRun      bool
	Offboarding Offboarding
	RequestedBy Actor
	RequestID   string
	// IdempotencyKey makes a repeated request answer with the first one's job;
	// empty means none.
	IdempotencyKey string
	// OnlyIfExpired makes a purge conditional on the tenant's retention being over.
	OnlyIfExpired bool
	// InProcess says that the caller runs the job itself: no task is enqueued,
	// and what the job's phases check is not checked early.
	InProcess bool
}

// JobFilter selects jobs for a list; zero fields select all.
type JobFilter struct {
	Status JobStatus
	Kind   JobKind
	Slug   string
	Code   Code
	Page   Page
}

// Retries says what became of a request to retry all failed jobs of a kind.
type Retries struct {
	// Matched is the number of slugs whose newest failed job was meant.
	Matched int
	Retried int
	// Skipped are those whose slug is not free, or whose job must not be retried.
	// What is neither retried nor skipped is left for the next request.
	Skipped int
}

// Lease is the right to work on a job. Epoch is its fencing token: it rises
// each time the lease is taken, and a write that carries an older one changes
// nothing.
type Lease struct {
	JobID JobID
	Owner string
	Epoch int64
}

// Task is a doorbell: it tells a worker to look at a job. The payload holds the
// job's id and nothing else.
type Task struct {
	OutboxID int64
	Type     string
	Queue    string
	// ID is the task's id in Redis, fresh for every ring.
	ID    string
	JobID JobID
}

// StalledJob is a job that is due but that no live lease stands behind.
type StalledJob struct {
	ID    JobID
	Epoch int64
	// Queue and TaskID name the doorbell last rung for it, if any.
	Queue  string
	TaskID string
}

// Queues. A job keeps its queue for life.
const (
	QueueProvision = "provision"
	QueueMail      = "mail"
	// QueueBulk has the jobs of batches. What is in it, or in QueueFleet, never
	// keeps what somebody waits for from a worker.
	QueueBulk = "bulk"
	// QueueFleet has what nobody asked for: the purges of tenants whose retention is over.
	QueueFleet = "fleet"
)

// Task types.
const (
	TaskProvision  = "tenant:provision"
	TaskOffboard   = "tenant:offboard"
	TaskInvitation = "mail:invitation"
)
