// Package crashtest holds the tests that kill workers. They prove the promise
// that no instant of failure leaves a half-done tenant:
//
//   - a worker is ended by SIGKILL, or frozen until others have gone on without
//     it, at each point of package crash, once and again while another worker
//     recovers from the first time;
//   - then workers that nothing happens to get time to finish;
//   - then the oracle looks at reality, and at nothing a worker says: databases
//     and roles on every server, the vault, the rows of master, Redis.
//
// A job must end complete, with exactly one of each thing and all of it working,
// or failed or cancelled, with nothing at all. A purge must end complete, with
// nothing left but its audit row and its dump, and the slug must work again.
//
// Jobs take prepared databases, and workers go on preparing them; or they copy
// templates, with CRASH_POOL=off; or make their databases from nothing, with
// CRASH_TEMPLATES=off. Prepared databases must in the end be as master has them.
//
// Every trial has a master database and a Redis database of its own, so that its
// workers see its job alone; tenant servers and vault are shared, and the slugs
// differ. So trials run beside each other.
//
// A sample runs with all other tests. The whole matrix, what is done from
// outside, the controls that prove that the oracle can see, and the measurement
// of recovery need the tag crashpoints: make crash. So does make soak.
package crashtest
