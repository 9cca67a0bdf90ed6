package tenancy

import "time"

// EventType names what happened in an audit row.
type EventType string

// The events of the audit trail. Names are stored and never change.
const (
	EventTenantProvisioned      EventType = "TENANT_PROVISIONED"
	EventTenantProvisionFailed  EventType = "TENANT_PROVISION_FAILED"
	EventOffboardingStarted     EventType = "TENANT_OFFBOARDING_STARTED"
	EventOffboardingCancelled   EventType = "TENANT_OFFBOARDING_CANCELLED"
	EventOffboardingFailed      EventType = "TENANT_OFFBOARDING_FAILED"
	EventTenantPurged           EventType = "TENANT_PURGED"
	EventTenantPurgeFailed      EventType = "TENANT_PURGE_FAILED"
	EventQueueOperation         EventType = "QUEUE_OPERATION"
	EventJobCancelled           EventType = "JOB_CANCELLED"
	EventJobCancelRequested     EventType = "JOB_CANCEL_REQUESTED"
	EventJobRetried             EventType = "JOB_RETRIED"
	EventStatusChanged          EventType = "STATUS_CHANGED"
	EventInvitationRequested    EventType = "INVITATION_REQUESTED"
	EventInvitationSent         EventType = "INVITATION_SENT"
	EventInvitationFailed       EventType = "INVITATION_FAILED"
	EventPasswordResetRequested EventType = "PASSWORD_RESET_REQUESTED"
	EventDBServerAdded          EventType = "DB_SERVER_ADDED"
	EventDBServerUpdated        EventType = "DB_SERVER_UPDATED"
	EventAPITokenCreated        EventType = "API_TOKEN_CREATED"
	EventAPITokenRevoked        EventType = "API_TOKEN_REVOKED"
	EventAccessDenied           EventType = "ACCESS_DENIED"
	EventSignedIn               EventType = "SIGNED_IN"
	EventSignedOut              EventType = "SIGNED_OUT"
	EventPasswordChanged        EventType = "PASSWORD_CHANGED"
	EventSecondFactorSet        EventType = "SECOND_FACTOR_SET"
	EventSecondFactorShown      EventType = "SECOND_FACTOR_SHOWN"
	EventSecondFactorRemoved    EventType = "SECOND_FACTOR_REMOVED"
	EventUserCreated            EventType = "PLATFORM_USER_CREATED"
	EventUserChanged            EventType = "PLATFORM_USER_CHANGED"
	EventBootstrapUserCreated   EventType = "BOOTSTRAP_PLATFORM_USER_CREATED"
	EventBatchSubmitted         EventType = "TENANT_BATCH_SUBMITTED"
)

// EventTypes lists every event there is.
func EventTypes() []EventType {
	return []EventType{
		EventTenantProvisioned, EventTenantProvisionFailed, EventOffboardingStarted,
		EventOffboardingCancelled, EventOffboardingFailed, EventTenantPurged, EventTenantPurgeFailed,
		EventQueueOperation, EventJobCancelled, EventJobCancelRequested, EventJobRetried,
		EventStatusChanged, EventInvitationRequested, EventInvitationSent, EventInvitationFailed,
		EventPasswordResetRequested, EventDBServerAdded, EventDBServerUpdated, EventAPITokenCreated,
		EventAPITokenRevoked, EventAccessDenied, EventSignedIn, EventSignedOut, EventPasswordChanged,
		EventSecondFactorSet, EventSecondFactorShown, EventSecondFactorRemoved, EventUserCreated, EventUserChanged,
		EventBootstrapUserCreated, EventBatchSubmitted,
	}
}

// AuditEvent is one row of the append-only audit trail. Details never hold a
// secret.
type AuditEvent struct {
	ID       int64
	Type     EventType
	TenantID TenantID
	Slug     string
	Actor    Actor
	JobID    JobID
	Details  map[string]any
	At       time.Time
}

// AuditFilter selects audit rows; zero fields select all.
type AuditFilter struct {
	Type  EventType
	Slug  string
	Actor string
	From  time.Time
	To    time.Time
	Page  Page
}
