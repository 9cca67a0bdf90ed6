package tasks

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Intervals that tests compare with.
const (
	RelayInterval     = relayInterval
	ReconcileInterval = reconcileInterval
	InvitationClaim   = invitationClaim
	MaxMailFailures   = maxMailFailures
)

// Drain relays once.
func (r *Relay) Drain(ctx context.Context) error { return r.drain(ctx) }

// Reconcile looks once, as the leader.
func Reconcile(ctx context.Context, ledger Ledger, inspector *asynq.Inspector) error {
	return newReconciler(ledger, inspector).reconcile(ctx)
}

// RunReconciler looks whenever it leads, until ctx ends.
func RunReconciler(ctx context.Context, ledger Ledger, inspector *asynq.Inspector) {
	newReconciler(ledger, inspector).run(ctx)
}

func newReconciler(ledger Ledger, inspector *asynq.Inspector) *reconciler {
	return &reconciler{ledger: ledger, inspector: inspector, mail: true, log: slog.New(slog.DiscardHandler)}
}

// InvitationHandler returns what answers a doorbell for an invitation.
func InvitationHandler(i Invitations, a TenantAdmins, m Mailer, tenantURL string) func(context.Context, tenancy.JobID) error {
	h := &invitationHandler{invitations: i, admins: a, mailer: m, tenantURL: tenantURL, log: slog.New(slog.DiscardHandler)}
	return h.handle
}

// DelayOf is the delay after which a handler wants its task back.
func DelayOf(err error) (after time.Duration, ok bool) {
	if c, ok := errors.AsType[*comeBack](err); ok {
		return c.after, true
	}
	return 0, false
}
