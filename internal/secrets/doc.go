// Package secrets keeps the connection URLs of tenants and servers in Azure Key
// Vault.
//
// # Ownership
//
// Every secret this package writes carries the tag managed-by=tenantry and, if
// it belongs to a tenant, the tags tenant-id and job-id. A live secret without
// the right tags is never changed or deleted, and a soft-deleted one is never
// recovered: both are CodePartialState. Before Drop deletes a secret it adds the
// tag released; a secret with that tag is given up, so whoever finds it live
// again, after a crash between recovering it and setting its new value, may
// take it.
//
// # Key Vault's own clock
//
// Deleting, recovering and purging are asynchronous, and only a purge that is
// over can be told from one that is not, by GetDeletedSecret's 404. Set has no
// precondition. So Ensure and Drop look, take one step and look again until
// what they promise is true, for at most Config.Settle; each is safe to repeat
// from wherever the last try stopped.
//
// # Who the client is
//
// A vault is reached over TLS with DefaultAzureCredential. There are two
// exceptions, and both hold for development only: a vault whose host is a
// loopback address (127.0.0.0/8, ::1, localhost), which Key Vault never is, and
// any host outside Azure when Config.Development is set. Those get a constant
// token that is worth nothing, and secrets/emulator takes any token; no real
// credential is sent there. Config.Development with a host inside Azure is
// refused.
//
// The SDK checks that the token a vault asks for is meant for the vault's own
// domain. A host outside Azure, such as a proxy before a private endpoint,
// cannot pass that check; for such a host only tokens for Key Vault itself are
// asked for, so that it cannot obtain one for another Azure service.
//
// Values are never logged and never part of an error.
package secrets
