package tasks

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	// InvitationTTL is how long an invitation's link works.
	InvitationTTL = 72 * time.Hour
	// invitationClaim is how long one sender has an invitation to itself.
	invitationClaim = 2 * time.Minute
	// maxMailFailures is the number of failures at which a mail is given up: with
	// mailBackoff, after about a day.
	maxMailFailures = 30
	// recordTimeout bounds writing down what became of a mail, which the end of
	// the worker must not cut short.
	recordTimeout = 2 * time.Second
)

// Invitations are the requests to mail an invitation, in master.
type Invitations interface {
	ClaimInvitation(ctx context.Context, id tenancy.JobID, span time.Duration) (inv tenancy.Invitation, found bool, err error)
	InvitationSent(ctx context.Context, inv tenancy.Invitation) error
	InvitationFailed(ctx context.Context, inv tenancy.Invitation, cause string) error
	RetryInvitation(ctx context.Context, inv tenancy.Invitation, cause string, after time.Duration) error
}

// TenantAdmins keeps the hash of an invitation in the tenant's own database, in
// place of any that is still open.
type TenantAdmins interface {
	NewInvitation(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, email string, tokenHash []byte, expiresAt time.Time) error
}

// Mailer sends mail. An error that is not transient means that it never will.
type Mailer interface {
	SendInvitation(ctx context.Context, to, tenantName, link string, expiresAt time.Time) error
}

// invitationHandler answers a doorbell for an invitation.
type invitationHandler struct {
	invitations Invitations
	admins      TenantAdmins
	mailer      Mailer
	// tenantURL is TENANT_URL, with {slug} in it.
	tenantURL string
	log       *slog.Logger
}

// handle sends the job's queued invitation, if there is one. The token is made
// here and goes nowhere but into the mail: a second try makes a new one, and the
// link of the first is dead. Should the worker die between sending and saying
// so, the person gets a second mail, whose link works.
func (h *invitationHandler) handle(ctx context.Context, id tenancy.JobID) error {
	inv, found, err := h.invitations.ClaimInvitation(ctx, id, invitationClaim)
	if err != nil {
		if tenancy.IsTransient(err) {
			return &comeBack{id: id, code: tenancy.CodeOf(err), after: mailBackoff(1)}
		}
		return result(id, err)
	}
	if !found {
		return nil
	}
	log := h.log.With("jobId", id, "slug", inv.Slug, "invitationId", inv.ID)
	sendErr := h.send(ctx, inv)
	stopping := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if sendErr == nil {
		log.Info("invitation sent")
		return h.recorded(id, h.invitations.InvitationSent(ctx, inv))
	}
	// Only the code and the safe message are logged: a mail server likes to quote
	// addresses.
	e := tenancy.AsError(sendErr)
	if stopping {
		// Nobody refused anything, so another worker tries at once.
		log.Info("invitation given back, because the worker stops")
		if err := h.invitations.RetryInvitation(ctx, inv, "The worker stopped while it sent the mail.", 0); err != nil {
			return h.recorded(id, err)
		}
		return &comeBack{id: id, code: e.Code}
	}
	if !e.Transient || inv.Failures+1 >= maxMailFailures {
		log.Error("invitation given up", "code", e.Code, "reason", e.Message)
		return h.recorded(id, h.invitations.InvitationFailed(ctx, inv, e.Message))
	}
	after := mailBackoff(inv.Failures + 1)
	log.Warn("invitation will be tried again", "after", after, "code", e.Code, "reason", e.Message)
	if err := h.invitations.RetryInvitation(ctx, inv, e.Message, after); err != nil {
		return h.recorded(id, err)
	}
	// asynq rounds down to whole seconds, and a task that comes before its
	// invitation is due finds nothing to send.
	return &comeBack{id: id, code: e.Code, after: after + time.Second}
}

func (h *invitationHandler) send(ctx context.Context, inv tenancy.Invitation) error {
	ctx, cancel := context.WithTimeout(ctx, invitationClaim-10*time.Second)
	defer cancel()
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails; see crypto/rand
	token := base64.RawURLEncoding.EncodeToString(secret)
	hash := sha256.Sum256([]byte(token))
	expiresAt := time.Now().Add(InvitationTTL)
	if err := h.admins.NewInvitation(ctx, inv.Server, inv.Slug, inv.AdminEmail, hash[:], expiresAt); err != nil {
		return fmt.Errorf("cannot record the invitation: %w", err)
	}
	link := strings.ReplaceAll(h.tenantURL, "{slug}", string(inv.Slug)) + "/first-sign-in?token=" + url.QueryEscape(token)
	if err := h.mailer.SendInvitation(ctx, inv.AdminEmail, inv.DisplayName, link, expiresAt); err != nil {
		return fmt.Errorf("cannot mail the invitation: %w", err)
	}
	return nil
}

// recorded leaves an invitation whose outcome could not be written to the
// reconciler: the claim runs out, and it is due again.
func (h *invitationHandler) recorded(id tenancy.JobID, err error) error {
	if err != nil {
		h.log.Error("cannot record what became of an invitation", "jobId", id, "error", err)
	}
	return nil
}

// mailBackoff is the delay after the n-th failure: 5 s doubling to one hour.
func mailBackoff(n int) time.Duration {
	return min(time.Hour, 5*time.Second<<min(n-1, 10))
}
