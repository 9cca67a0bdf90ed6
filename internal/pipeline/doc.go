// Package pipeline runs a job: a list of phases, each with a Do and an Undo that
// are both safe to repeat. It is a saga: either every phase is done, or
// everything that was started is undone. It knows no phase and no database; what
// a phase does is in internal/phases, and what is recorded is in internal/store.
//
// # States
//
//	queued ──▶ running ──▶ complete
//	             │ permanent error, failures used up, cancel
//	             ▼
//	        rolling_back ──▶ failed ──(operator's retry)──▶ queued
//	                    └──▶ cancelled
//
// # What is promised
//
// A job is worked on by one worker at a time. The worker holds the job's lease,
// renews it while it works, and stops when it is lost. Each time the lease is
// taken its epoch rises, and every write carries the epoch, so a worker that
// lost the lease without knowing changes nothing in master.
//
// Effects outside master cannot carry the epoch. Databases and vault ask the
// context's fence (tenancy.CheckFence) just before each, under the lock on the
// slug where there is one.
//
// A phase is recorded as running before its Do, and as done after it. A worker
// that dies in between leaves a running phase, and the next worker calls Do
// again: a Do must find what an earlier one made and go on from there. A crash
// does not count as a failure.
//
// A phase whose whole effect is a transaction of master's (Recording) needs no
// record before it. The transaction records that it is done, and the phase before it
// too, which is one commit instead of three.
//
// The last phase settles the job: its Do makes the work visible and the job
// complete in one transaction. So whatever is not complete can be undone.
//
// # When a Do fails
//
// A transient error (tenancy.IsTransient) is recorded, the lease is given back
// and Run returns a *Retry: the caller comes back after its delay, and the same
// phase is done again. Any other error, or one transient failure too many, turns
// the job to rolling_back: the phases that were started are undone in reverse,
// the failing one included, because it may have had half its effect.
//
// An irreversible job, a purge, has nothing to undo with: it fails where it stands,
// and a retry goes on from there.
//
// An Undo that fails is tried again for as long as it takes, with growing
// delays; until then the job stays rolling_back and names what is left in its
// residue. A job is failed only when nothing it made is left.
package pipeline
