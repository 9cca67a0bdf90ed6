package phases_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// reality is what exists of a slug, asked of the servers themselves.
type reality struct {
	Row      string   // the master row: its status, and whose it is
	Reserved string   // the server on which the job holds a place
	Claimed  bool     // whether it has claimed a prepared database
	Objects  []string // databases and roles: where, what and whose
	Schema   int      // version of the built-in migrations in the job's database
	Admins   int
	Secret   string // live or deleted, and whose
	Value    string // of a live secret
	Settled  tenancy.JobStatus
	Audit    []string
	Invited  int
}

// withoutValue is r without the secret's value, which is fresh each time one is
// made.
func (r reality) withoutValue() reality {
	r.Value = ""
	return r
}

// whole is the job's own database and roles on pg-a.
var whole = []string{"pg-a: database, mine", "pg-a: app role, mine", "pg-a: owner role, mine"}

func (x *tenant) observe(t *testing.T) reality {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
	}
	whose := func(mine bool) string {
		if mine {
			return "mine"
		}
		return "another's"
	}
	var r reality

	var status string
	var tenantID tenancy.TenantID
	err := x.master.QueryRow(ctx, `SELECT status, tenant_id FROM identity.tenant WHERE slug = $1`, x.slug).Scan(&status, &tenantID)
	check(err)
	if err == nil {
		r.Row = status + ", " + whose(tenantID == x.owner.TenantID)
	}
	check(x.master.QueryRow(ctx, `
		SELECT s.name FROM identity.job j JOIN identity.db_server s USING (db_server_id)
		WHERE j.job_id = $1 AND j.capacity_reserved`, x.job).Scan(&r.Reserved))
	check(x.master.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM identity.warm_database WHERE job_id = $1 AND state = 'claimed')`, x.job).Scan(&r.Claimed))
	check(x.master.QueryRow(ctx, `
		SELECT status FROM identity.job WHERE job_id = $1 AND status IN ('complete', 'failed', 'cancelled')`, x.job).Scan(&r.Settled))
	check(x.master.QueryRow(ctx, `SELECT count(*) FROM identity.invitation WHERE job_id = $1`, x.job).Scan(&r.Invited))
	rows, err := x.master.Query(ctx, `SELECT event_type FROM identity.tenant_audit WHERE job_id = $1 ORDER BY audit_id`, x.job)
	check(err)
	r.Audit, err = pgx.CollectRows(rows, pgx.RowTo[string])
	check(err)

	for i, server := range x.servers {
		rows, err := server.Query(ctx, `
			SELECT 'database', coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = $1
			UNION ALL SELECT 'app role', coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = $2
			UNION ALL SELECT 'owner role', coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = $3`,
			x.slug.DatabaseName(), x.slug.AppRole(), x.slug.OwnerRole())
		check(err)
		var what, comment string
		_, err = pgx.ForEachRow(rows, []any{&what, &comment}, func() error {
			r.Objects = append(r.Objects, serverNames[i]+": "+what+", "+whose(comment == x.owner.String()))
			if what == "database" && i == 0 && comment == x.owner.String() {
				r.Schema, r.Admins = x.inside(t)
			}
			return nil
		})
		check(err)
	}

	state, err := x.vault.Inspect(ctx, x.slug.SecretName())
	check(err)
	switch {
	case state.Exists:
		r.Secret = "live, " + whose(state.Owner == x.owner)
		if r.Value, err = x.vault.Value(ctx, x.slug.SecretName()); err != nil {
			t.Fatal(err)
		}
	case state.Deleted:
		r.Secret = "deleted, " + whose(state.Owner == x.owner)
	}
	return r
}

// inside looks into the job's database on pg-a.
func (x *tenant) inside(t *testing.T) (schema, admins int) {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, x.postgres[0].DatabaseURL(x.slug.DatabaseName()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var users bool
	if err := conn.QueryRow(ctx, `
		SELECT coalesce((SELECT max(version) FROM tenantry.schema_migrations WHERE NOT dirty), 0), to_regclass('identity.users') IS NOT NULL`).
		Scan(&schema, &users); err != nil {
		t.Fatal(err)
	}
	if users {
		if err := conn.QueryRow(ctx, `
			SELECT count(*) FROM identity.users WHERE email = 'Admin@acme.example' AND role = 'admin'`).Scan(&admins); err != nil {
			t.Fatal(err)
		}
	}
	return schema, admins
}

// want compares reality, the secret's value aside.
func (x *tenant) want(t *testing.T, step string, want reality) {
	t.Helper()
	if diff := cmp.Diff(want.withoutValue(), x.observe(t).withoutValue()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", step, diff)
	}
}

// wantWorking proves that the credential in the vault opens the tenant's
// database and no other.
func (x *tenant) wantWorking(t *testing.T) {
	t.Helper()
	value, err := x.vault.Value(t.Context(), x.slug.SecretName())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), value)
	if err != nil {
		t.Fatalf("the vault's credential does not work: %v", err)
	}
	defer conn.Close(t.Context())
	var database, user string
	if err := conn.QueryRow(t.Context(), `SELECT current_database(), current_user`).Scan(&database, &user); err != nil {
		t.Fatal(err)
	}
	if database != x.slug.DatabaseName() || user != x.slug.AppRole() {
		t.Errorf("the vault's credential leads to %s as %s", database, user)
	}
}
