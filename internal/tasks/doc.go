// Package tasks is the doorbell: it carries "look at this job" through Redis
// from whoever recorded the job to a worker that is free.
//
// Nothing in Redis is needed to finish a job. A task holds the job's id and no
// more; whoever receives it looks at the row in master and does what is left.
// So a lost task, one delivered twice, one delivered late and one run again by
// an operator are all the same case. Three things make up for what Redis may
// lose:
//
//   - the Relay enqueues what the outbox holds, at once after the commit that
//     wrote it, and again until Redis has taken it;
//   - the reconciler finds jobs and invitations that are due, that no worker
//     holds and that Redis has no task for, and rings again;
//   - the handler runs a job on the worker's own time, not on the task's: a
//     Redis that goes away interrupts nothing.
//
// A worker without a Mailer takes no mail: it leaves the queue of mails alone, and what
// is due is rung for by those that have one.
//
// A worker also keeps the pool of prepared databases, which is nobody's job: see
// keeper.
//
// Every ring has a task id never used before, because asynq refuses an id that
// it still knows in any state.
package tasks
