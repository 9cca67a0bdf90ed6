// Package tenantdb makes, migrates and drops tenants' databases on the servers
// they live on.
//
// # What is made
//
// For the slug acme: the role tenant_acme_owner, which cannot log in and owns
// everything; the role tenant_acme_app, the application's login, which reads
// and writes data and can create nothing; and the database tenant_acme, which
// lets in the application's role, its owner and superusers alone. All three
// carry the tenant's and the job's id in their COMMENT. Whatever lacks that
// proof is never changed, adopted or dropped; it is CodePartialState.
//
// # What may be repeated
//
// Everything. Ensure and Drop look at what exists and do what is left, so each
// may follow a crash of itself or of the other at any point:
//
//	absent → roles → database, closed → database, open to the admin
//	       → prepared, app role let in → migrated
//
// The database is a copy of a template, if the migrations allow it, and then has
// them all from the beginning, and the rights that applications have on what they made.
//
// Preparing it and letting the application's role in is one transaction, the last step
// of EnsureDatabase, and is how a finished database is told from half of one.
//
// # Who may work on a slug
//
// Postgres goes on with a CREATE DATABASE whose client has died. So whoever
// creates, migrates or drops holds a session advisory lock on the slug, on the
// connection that creates or drops, in the server's maintenance database: the
// one its admin URL names. A second caller waits until the first, or what the
// server still does for it, has ended.
//
// # Templates
//
// A server has one template for each content of the migration files. The first who
// needs it builds it, with the same code that migrates a tenant, under an advisory
// lock that is held on the connection that creates; the others wait. Its COMMENT
// says unfinished until nobody can be in it, so what a killed builder left is known
// and built again. Whatever a copy would lack, or must not share with other tenants,
// makes a set unfit: its databases are made from nothing and migrated file by file.
//
// # Prepared databases
//
// A copy may be made ahead, for no tenant yet, under an opaque name and with roles of
// its own, by whoever holds the lock on that name:
//
//	absent → roles → database, closed → open to the admin → prepared → closed
//	       → marked as finished
//
// EnsureDatabase takes one by renaming, in one transaction, if it is finished and of
// the files as they are now; or else it does without. Nobody can be in one.
//
// # What a failed migration leaves
//
// A dirty version, always: a transaction does not span files, nor every
// statement. As the database is new and holds nobody's data, Migrate then
// drops it and starts again. It does so only for the job that made the
// database.
package tenantdb
