// Package devplane runs what the product depends on, on this machine: Postgres,
// Redis, a vault and a mail sink, for `tenantctl dev` and for tests.
//
// It guarantees three things. Every server listens on 127.0.0.1 alone and asks
// for a password. A start returns when the server answers, never before. And no
// server outlives the program that started it: it is stopped in order, or, if
// the program is killed, ended by the kernel (on Linux).
package devplane
