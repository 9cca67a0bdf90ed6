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
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	// InvitationTTL is how long an invitation's link works.
	InvitationTTL = 72 * time.Hour
	// PasswordResetTTL is how long a password reset's link works.
	PasswordResetTTL = time.Hour
	// invitationClaim is how long one sender has an invitation to itself.
	invitationClaim = 2 * time.Minute
	// maxMailFailures is the number of failures at which a mail is given up: with
	// mailBackoff, after about a day.
	maxMailFailures = 30
	// firstAside is how long the jobs of batches leave invitations to tasks of their
	// own after one that could not be sent: a mail server that takes its time must not
	// keep a batch waiting.
	firstAside = time.Minute
	// recordTimeout bounds writing down what became of a mail, which the end of
	// the worker must not cut short.
	recordTimeout = 2 * time.Second
)

// Invitations are the requests to mail a link to choose a password with, in
// master.
type Invitations interface {
	ClaimInvitation(ctx context.Context, id tenancy.JobID, span time.Duration) (inv tenancy.Invitation, found bool, err error)
	InvitationSent(ctx context.Context, inv tenancy.Invitation) error
	InvitationFailed(ctx context.Context, inv tenancy.Invitation, cause string) error
	RetryInvitation(ctx context.Context, inv tenancy.Invitation, cause string, after time.Duration) error
	// DropPasswordReset settles a request for an address that nobody has.
	DropPasswordReset(ctx context.Context, inv tenancy.Invitation) error
}

// TenantAdmins keeps the hash of an invitation in the tenant's own database, in
// place of any that is still open, and returns the address to mail it to. It
// fails with CodeNotFound if no active user has the one asked for.
type TenantAdmins interface {
	NewInvitation(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, email string, tokenHash []byte, expiresAt time.Time) (to string, err error)
}

// Mailer sends mail. An error that is not transient means that it never will.
type Mailer interface {
	SendInvitation(ctx context.Context, to, tenantName, link string, expiresAt time.Time) error
	SendPasswordReset(ctx context.Context, to, tenantName, link string, expiresAt time.Time) error
}

// invitationHandler answers a doorbell for invitations and password resets.
type invitationHandler struct {
	invitations Invitations
	admins      TenantAdmins
	mailer      Mailer // nil: first does nothing, and handle is not called
	// tenantURL is TENANT_URL, with {slug} in it.
	tenantURL string
	log       *slog.Logger
	// aside is until when first does nothing, in nanoseconds since 1970.
	aside atomic.Int64
}

// handle sends all that is due for the job's tenant. A token is made here and
// goes nowhere but into the mail: a second try makes a new one, and the link of
// the first is dead. Should the worker die between sending and saying so, the
// person gets a second mail, whose link works.
func (h *invitationHandler) handle(ctx context.Context, id tenancy.JobID) error {
	var again *comeBack
	for stopping := false; !stopping; {
		inv, found, err := h.invitations.ClaimInvitation(ctx, id, invitationClaim)
		if tenancy.IsTransient(err) {
			return &comeBack{id: id, code: tenancy.CodeOf(err), after: mailBackoff(1)}
		}
		if err != nil {
			return result(id, err)
		}
		if !found {
			break
		}
		// What failed is not due before its delay, so it is not claimed again here.
		var later *comeBack
		later, stopping = h.deliver(ctx, inv)
		if again == nil || later != nil && later.after < again.after {
			again = later
		}
	}
	if again == nil {
		return nil
	}
	return again
}

// first sends the invitation of a job that is complete just now. One that it does not
// send will be rung for.
func (h *invitationHandler) first(ctx context.Context, id tenancy.JobID) {
	if h.mailer == nil || time.Now().UnixNano() < h.aside.Load() {
		return
	}
	switch inv, found, err := h.invitations.ClaimInvitation(ctx, id, invitationClaim); {
	case err != nil:
		h.log.Warn("cannot look for a job's invitation; it will be rung for", "jobId", id, "error", err)
	case found:
		if later, _ := h.deliver(ctx, inv); later != nil {
			h.aside.Store(time.Now().Add(firstAside).UnixNano())
		}
	}
}

// deliver sends one invitation and records what became of it. It returns when
// to come back for it, nil if it is settled, and whether the worker stops.
func (h *invitationHandler) deliver(ctx context.Context, inv tenancy.Invitation) (later *comeBack, stopping bool) {
	log := h.log.With("jobId", inv.JobID, "slug", inv.Slug, "invitationId", inv.ID, "kind", inv.Kind)
	sendErr := h.send(ctx, inv)
	stopping = ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if sendErr == nil {
		log.Info("invitation sent")
		h.recorded(inv, h.invitations.InvitationSent(ctx, inv))
		return nil, stopping
	}
	// Only the code and the safe message are logged: a mail server likes to quote
	// addresses.
	e := tenancy.AsError(sendErr)
	switch {
	case inv.Kind == tenancy.KindPasswordReset && e.Code == tenancy.CodeNotFound:
		log.Info("password reset dropped: nobody has the address")
		h.recorded(inv, h.invitations.DropPasswordReset(ctx, inv))
		return nil, stopping
	case stopping:
		// Nobody refused anything, so it is due at once.
		log.Info("invitation given back, because the worker stops")
		if !h.recorded(inv, h.invitations.RetryInvitation(ctx, inv, "The worker stopped while it sent the mail.", 0)) {
			return nil, true
		}
		return &comeBack{id: inv.JobID, code: e.Code}, true
	case !e.Transient || inv.Failures+1 >= maxMailFailures:
		log.Error("invitation given up", "code", e.Code, "reason", e.Message)
		h.recorded(inv, h.invitations.InvitationFailed(ctx, inv, e.Message))
		return nil, false
	}
	after := mailBackoff(inv.Failures + 1)
	log.Warn("invitation will be tried again", "after", after, "code", e.Code, "reason", e.Message)
	if !h.recorded(inv, h.invitations.RetryInvitation(ctx, inv, e.Message, after)) {
		return nil, false
	}
	// asynq rounds down to whole seconds, and a task that comes before its
	// invitation is due finds nothing to send.
	return &comeBack{id: inv.JobID, code: e.Code, after: after + time.Second}, false
}

func (h *invitationHandler) send(ctx context.Context, inv tenancy.Invitation) error {
	ctx, cancel := context.WithTimeout(ctx, invitationClaim-10*time.Second)
	defer cancel()
	ttl, page, mail := InvitationTTL, "/first-sign-in", h.mailer.SendInvitation
	if inv.Kind == tenancy.KindPasswordReset {
		ttl, page, mail = PasswordResetTTL, "/reset-password", h.mailer.SendPasswordReset
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails; see crypto/rand
	token := base64.RawURLEncoding.EncodeToString(secret)
	hash := sha256.Sum256([]byte(token))
	expiresAt := time.Now().Add(ttl)
	to, err := h.admins.NewInvitation(ctx, inv.Server, inv.Slug, inv.Email, hash[:], expiresAt)
	if err != nil {
		return fmt.Errorf("cannot record the invitation: %w", err)
	}
	link := strings.ReplaceAll(h.tenantURL, "{slug}", string(inv.Slug)) + page + "?token=" + url.QueryEscape(token)
	if err := mail(ctx, to, inv.DisplayName, link, expiresAt); err != nil {
		return fmt.Errorf("cannot mail the invitation: %w", err)
	}
	return nil
}

// recorded reports whether the outcome could be written. If not, the invitation is
// left to the reconciler: the claim runs out, and it is due again.
func (h *invitationHandler) recorded(inv tenancy.Invitation, err error) bool {
	if err != nil {
		h.log.Error("cannot record what became of an invitation", "jobId", inv.JobID, "invitationId", inv.ID, "error", err)
	}
	return err == nil
}

// mailBackoff is the delay after the n-th failure: 5 s doubling to one hour.
func mailBackoff(n int) time.Duration {
	return min(time.Hour, 5*time.Second<<min(n-1, 10))
}
