package tasks

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Runner runs a job until it is settled or must wait; pipeline.Runner is one.
type Runner interface {
	Run(ctx context.Context, id tenancy.JobID) error
}

// Jobs is what the handler needs of master.
type Jobs interface {
	Job(ctx context.Context, id tenancy.JobID) (tenancy.Job, error)
	RetryJob(ctx context.Context, id tenancy.JobID, actor tenancy.Actor) (tenancy.Job, error)
}

// delayed is an error after which the job is due again, such as *pipeline.Retry.
type delayed interface {
	error
	RetryAfter() time.Duration
}

// asynqmonActor is who pressed Run on an archived task.
var asynqmonActor = tenancy.Actor{Name: "asynqmon"}

// jobHandler answers a doorbell for a job.
type jobHandler struct {
	runner      Runner
	jobs        Jobs
	invitations *invitationHandler
	inspector   *asynq.Inspector
}

// handle runs the job. What it returns is what asynq does with the task: nil
// ends it, a delayed error brings it back, and a failed job's error puts it into
// the archive, where an operator may run it again. The error's text lands in
// Redis and in Asynqmon, so it is the code and nothing else.
func (h *jobHandler) handle(ctx context.Context, id tenancy.JobID) error {
	err := h.run(ctx, id)
	if tenancy.CodeOf(err) == tenancy.CodeJobSettled {
		return h.settled(ctx, id)
	}
	return result(id, err)
}

// run runs the job. A batch's tenant is invited at once: a task of its own would wait
// behind the rest of the batch, and the session in the tenant's database would be gone.
// What becomes of the invitation is recorded with it; the reconciler rings for one that
// is not sent now.
func (h *jobHandler) run(ctx context.Context, id tenancy.JobID) error {
	if err := h.runner.Run(ctx, id); err != nil {
		return err
	}
	queue, _ := asynq.GetQueueName(ctx)
	if _, bulk := bulkQueues[queue]; bulk {
		h.invitations.first(ctx, id)
	}
	return nil
}

func result(id tenancy.JobID, err error) error {
	if err == nil {
		return nil
	}
	if d, ok := errors.AsType[delayed](err); ok {
		back := &comeBack{id: id, code: "GIVEN_BACK", after: d.RetryAfter()}
		if e, ok := errors.AsType[*tenancy.Error](err); ok {
			back.code = e.Code
		}
		return back
	}
	switch code := tenancy.CodeOf(err); code {
	case tenancy.CodeJobBusy, tenancy.CodeLeaseLost, tenancy.CodeJobSettled:
		return nil // another worker has it; should that one die, the reconciler rings
	default:
		return fmt.Errorf("%s: job %s: %w", code, id, asynq.SkipRetry)
	}
}

// settled answers a doorbell for a job that is settled already. Mostly that is a
// duplicate, and nothing to do. But for a failed job it may be that an operator
// ran one of its dead letters, which is told by the error that archiving left: a
// new attempt begins. Or the worker died after settling the job and before asynq
// knew: the task becomes the dead letter it should have been.
func (h *jobHandler) settled(ctx context.Context, id tenancy.JobID) error {
	queue, _ := asynq.GetQueueName(ctx)
	taskID, _ := asynq.GetTaskID(ctx)
	info, err := h.inspector.GetTaskInfo(queue, taskID)
	if err != nil {
		return nil //nolint:nilerr // Redis does not know the task any more, so nobody ran it by hand
	}
	job, err := h.jobs.Job(ctx, id)
	if err != nil {
		return result(id, err)
	}
	if job.Status != tenancy.JobFailed || job.Error == nil || info.LastErr == "" {
		return nil
	}
	if !deadLetter.MatchString(info.LastErr) {
		return result(id, job.Error.Err())
	}
	if _, err := h.jobs.RetryJob(ctx, id, asynqmonActor); err != nil {
		return result(id, err)
	}
	return result(id, h.run(ctx, id))
}

// deadLetter is the text of a failed job's error, as result makes it.
var deadLetter = regexp.MustCompile(`^[A-Z_]+: job [0-9a-f-]{36}`)

// comeBack is the error of a task that is due again. It says nothing but the
// code, since it is kept in Redis; that of a job which a stopping worker gave
// back is none of ours.
type comeBack struct {
	id    tenancy.JobID
	code  tenancy.Code
	after time.Duration
}

func (e *comeBack) Error() string {
	return fmt.Sprintf("%s: again in %s: job %s", e.code, e.after, e.id)
}
