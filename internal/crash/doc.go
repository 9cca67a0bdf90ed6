// Package crash lets a test end a worker at an exact instant. It exists only in
// programs built with the tag crashpoints; in all others Point is an empty
// function, the rest hands back what it is given, and the compiler leaves
// nothing of either. internal/crashtest is who builds such workers.
//
// A program with the tag reads these variables, each one optional:
//
//	TENANTRY_CRASH_POINT         where to end: "do:database_created:before"
//	TENANTRY_CRASH_ONCE          a file; only who can create it ends
//	TENANTRY_CRASH_SIGNAL        STOP: freeze there instead, until SIGCONT
//	TENANTRY_CRASH_PARENT        end when this process is no longer the parent
//	TENANTRY_CRASH_LEASE_TTL     the lease's length instead of the usual
//	TENANTRY_CRASH_NO_FENCE      1: writes to master go through without the lease
//	TENANTRY_CRASH_NO_SLUG_LOCK  1: nobody waits for a slug
//
// The last two take a protection away, so that a test can show that it would
// notice.
//
// # Points
//
// Around each phase of a job, whichever phases it has:
//
//	do:PHASE:before      its Do is recorded as begun, unless it records that
//	                     itself, and about to be called
//	do:PHASE:after       its Do has returned, with or without an error
//	do:PHASE:recorded    it is recorded as done; a last phase may not have this point
//	undo:PHASE:before    its Undo is about to be called
//	undo:PHASE:after     its Undo has returned
//	undo:PHASE:recorded  it is recorded as undone
//	rollback:begun:recorded    the job is recorded as rolling back
//	rollback:settled:recorded  the job is recorded as failed or cancelled
//
// And around each step in which a database is prepared ahead, which are roles,
// copy, door, rights and mark:
//
//	warm:STEP:before     it is about to be done
//	warm:STEP:after      it is done
package crash
