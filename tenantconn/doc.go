// Package tenantconn gives an application the database of the tenant it serves.
//
// The application knows a slug, usually from the host name of a request. Where
// that tenant's database is stands in the registry (the master database), and
// how to get in stands in Key Vault. [Open] connects to both; [Tenants.Read] and
// [Tenants.Write] then run a transaction in a tenant's own database:
//
//	err := tenants.Write(ctx, slug, func(tx pgx.Tx) error {
//		_, err := tx.Exec(ctx, "INSERT INTO note (body) VALUES ($1)", body)
//		return err
//	})
//
// # What a tenant's status allows
//
//	status        Read                        Write
//	provisioning  NOT_FOUND, 404              NOT_FOUND, 404
//	active        yes                         yes
//	read_only     yes                         TENANT_READ_ONLY, 403
//	suspended     TENANT_SUSPENDED, 503       TENANT_SUSPENDED, 503
//	offboarding   yes                         TENANT_OFFBOARDING, 403
//
// A refusal is an [*Error], whose HTTPStatus is fit for an answer. The registry is
// asked again at an interval, so a status holds soon after an operator has set it.
// A transaction that has begun is not interrupted.
//
// # Pools
//
// Each tenant that is in use has a small pool of its own. Pools are bounded in
// number and closed when they are idle; what a pool may take from a server is
// MaxConns, and a server's capacity counts on that.
//
// A pool follows its secret. If a server refuses the login, or a vault that is
// looked at now and then has another value, the tenant gets a new pool. The old
// one closes when the last connection in use is given back: nobody is cut off.
//
// # When something is away
//
// While the registry does not answer, what it said last holds for StatusGrace.
// While the vault does not answer, the pools that are there go on. What could not
// be opened is tried again by the next call, and nothing of the kind is
// remembered; so a tenant is there as soon as it is provisioned.
//
// # What the application's role needs
//
// In the registry SELECT on identity.tenant, and in Key Vault the permission to
// get secrets.
//
//	GRANT USAGE ON SCHEMA identity TO app;
//	GRANT SELECT ON identity.tenant TO app;
//
// No error of this package's own shows a credential or an address; what pgx tells f may
// have the server's address.
package tenantconn
