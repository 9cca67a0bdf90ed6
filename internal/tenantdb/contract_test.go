package tenantdb_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

// TestContract takes both kinds of admin through what the pipeline may do:
// everything twice, and again after a drop.
func TestContract(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]func(*testing.T, ...func(*tenantdb.Config)) *bundle{
		"superuser": setup, "limited admin": setupLimited,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			absent := tenancy.DatabaseState{}
			step := func(what string, f func(*testing.T), want tenancy.DatabaseState) {
				t.Helper()
				f(t)
				if diff := cmp.Diff(want, b.inspect(t)); diff != "" {
					t.Errorf("after %s (-want +got):\n%s", what, diff)
				}
			}
			migrate := func(t *testing.T) {
				t.Helper()
				if got := b.migrate(t); got != "5/0" {
					t.Errorf("version %q, want 5/0", got)
				}
			}
			step("drop of nothing", b.drop, absent)
			step("ensure", b.ensure, b.whole())
			step("second ensure", b.ensure, b.whole())
			step("migrate", migrate, b.whole())
			step("second migrate", migrate, b.whole())
			step("ensure after migrate", b.ensure, b.whole())
			sql(t, b.appURL, "INSERT INTO settings.setting (key, value) VALUES ('k', '1')")
			step("migrate with data", migrate, b.whole())
			if got := values[string](t, b.appURL, "SELECT key FROM settings.setting"); len(got) != 1 {
				t.Errorf("a repeated Migrate lost the data: %q", got)
			}
			step("drop", b.drop, absent)
			step("second drop", b.drop, absent)
			step("ensure after drop", b.ensure, b.whole())
			step("migrate after drop", migrate, b.whole())
			step("last drop", b.drop, absent)
		})
	}
}

// TestFromHalf starts from what a crash in the middle of Ensure or Drop leaves,
// and goes on both ways.
func TestFromHalf(t *testing.T) {
	t.Parallel()
	const roles = `CREATE ROLE %OWNER% NOLOGIN; COMMENT ON ROLE %OWNER% IS '%MARK%';
		CREATE ROLE %APP% LOGIN; COMMENT ON ROLE %APP% IS '%MARK%'`
	const create = `CREATE DATABASE %DB% OWNER %OWNER% TEMPLATE template0 ALLOW_CONNECTIONS false`
	for name, statements := range map[string][]string{
		"roles only":                 {roles},
		"one role":                   {`CREATE ROLE %OWNER% NOLOGIN; COMMENT ON ROLE %OWNER% IS '%MARK%'`},
		"database without a mark":    {roles, create},
		"marked and still closed":    {roles, create, `COMMENT ON DATABASE %DB% IS '%MARK%'; REVOKE ALL ON DATABASE %DB% FROM PUBLIC`},
		"open and not prepared":      {roles, create, `COMMENT ON DATABASE %DB% IS '%MARK%'; REVOKE ALL ON DATABASE %DB% FROM PUBLIC; ALTER DATABASE %DB% ALLOW_CONNECTIONS true`},
		"drop was interrupted":       {roles, create, `COMMENT ON DATABASE %DB% IS '%MARK%'; UPDATE pg_database SET datconnlimit = -2 WHERE datname = '%DB%'`},
		"locked out, not dropped":    {"ENSURE", `ALTER ROLE %APP% NOLOGIN; ALTER DATABASE %DB% ALLOW_CONNECTIONS false`},
		"dropped, roles still there": {"ENSURE", `ALTER ROLE %APP% NOLOGIN`, `DROP DATABASE %DB%`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, then := range []string{"ensure", "migrate", "drop"} {
				b := setup(t)
				for _, s := range statements {
					if s == "ENSURE" {
						b.ensure(t)
						continue
					}
					sql(t, b.pg.URL(), b.expand(s))
				}
				switch then {
				case "drop":
					b.drop(t)
					if got := b.inspect(t); !got.Empty() {
						t.Errorf("after drop there is %+v", got)
					}
				case "migrate":
					b.migrate(t)
				}
				b.ensure(t)
				if diff := cmp.Diff(b.whole(), b.inspect(t)); diff != "" {
					t.Errorf("%s, then ensure (-want +got):\n%s", then, diff)
				}
				sql(t, b.appURL, "SELECT 1")
			}
		})
	}
}

// TestDropByAnotherJob: the offboarding job of the same tenant may drop what
// the provisioning job made, but not take part in making it.
func TestDropByAnotherJob(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ensure(t)
	later := tenancy.Ownership{TenantID: b.owner.TenantID, JobID: newOwner().JobID}
	_, err := b.EnsureDatabase(t.Context(), b.server, b.slug, later, b.appURL, tenancy.DatabaseSource{})
	wantCode(t, err, tenancy.CodePartialState, false)
	_, err = b.Migrate(t.Context(), b.server, b.slug, later, b.appURL)
	wantCode(t, err, tenancy.CodePartialState, false)
	if err := b.DropDatabase(t.Context(), b.server, b.slug, later); err != nil {
		t.Fatal(err)
	}
	if got := b.inspect(t); !got.Empty() {
		t.Errorf("after drop there is %+v", got)
	}
}

func TestDropEndsSessions(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]func(*testing.T, ...func(*tenantdb.Config)) *bundle{
		"superuser": setup, "limited admin": setupLimited,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.ensure(t)
			ended := make(chan error, 1)
			go func() { ended <- trySQL(t, b.appURL, "SELECT pg_sleep(600)") }()
			eventually(t, "the session", func() bool {
				return values[int64](t, b.pg.URL(), "SELECT count(*) FROM pg_stat_activity WHERE datname = $1", b.slug.DatabaseName())[0] == 1
			})
			b.drop(t)
			if err := <-ended; err == nil {
				t.Error("the session outlived its database")
			}
		})
	}
}

func TestNewPasswordReachesTheRole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ensure(t)
	old := b.appURL
	var err error
	if b.appURL, err = b.AppURL(t.Context(), b.server, b.slug, tenantdb.NewPassword()); err != nil {
		t.Fatal(err)
	}
	b.ensure(t)
	sql(t, b.appURL, "SELECT 1")
	if err := trySQL(t, old, "SELECT 1"); err == nil {
		t.Error("the old password still works")
	}
}
