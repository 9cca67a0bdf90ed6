package tenantdb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

// newWarm is a prepared database that there is nothing of yet. What is left of it
// goes when the test ends.
func (b *bundle) newWarm(t *testing.T) tenancy.WarmDatabase {
	t.Helper()
	d := tenancy.WarmDatabase{ID: tenancy.WarmDatabaseID(uuid.NewString()), Server: b.server, Template: b.Template()}
	t.Cleanup(func() {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, b.pg.URL())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(ctx)
		for _, sql := range []string{
			"DROP DATABASE IF EXISTS " + d.ID.DatabaseName() + " WITH (FORCE)",
			"DROP ROLE IF EXISTS " + d.ID.OwnerRole(), "DROP ROLE IF EXISTS " + d.ID.AppRole(),
		} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				t.Errorf("cleanup: %v", err)
			}
		}
	})
	return d
}

// warmed is one that is ready.
func (b *bundle) warmed(t *testing.T) tenancy.WarmDatabase {
	t.Helper()
	d := b.newWarm(t)
	if err := b.Warm(t.Context(), d); err != nil {
		t.Fatalf("Warm: %v", err)
	}
	return d
}

// take makes the slug's database from d, or whatever else it is made from.
func (b *bundle) take(t *testing.T, d tenancy.WarmDatabase) tenancy.DatabaseOrigin {
	t.Helper()
	origin, err := b.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{Warm: d.ID})
	if err != nil {
		t.Fatal(err)
	}
	return origin
}

// taken is take of a fresh one, which must be had.
func (b *bundle) taken(t *testing.T) {
	t.Helper()
	if d := b.warmed(t); !b.take(t, d).Warm {
		t.Fatalf("it was not taken:\n%s", b.log)
	}
}

// TestAPreparedDatabaseHasItsPassword where the one that prepared it hands it on, and
// gets the secret's where another takes it.
func TestAPreparedDatabaseHasItsPassword(t *testing.T) {
	t.Parallel()
	files := plainFiles()
	maker, other := setup(t, withApp(files), withTemplates), setup(t, withApp(files), withTemplates)
	other.server = maker.server
	verifier := func(role string) string {
		return values[string](t, maker.pg.URL(), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", role)[0]
	}
	for name, b := range map[string]*bundle{"its maker": maker, "another": other} {
		d := maker.warmed(t)
		password := b.WarmPassword(d.ID)
		if (b == maker) != (password != "") {
			t.Fatalf("%s knows the password: %v", name, password != "")
		}
		if password != "" {
			var err error
			if b.appURL, err = b.AppURL(t.Context(), b.server, b.slug, password); err != nil {
				t.Fatal(err)
			}
		}
		before := verifier(d.ID.AppRole())
		if origin := b.take(t, d); !origin.Warm {
			t.Fatalf("%s: not taken: %s", name, b.log)
		}
		if same := verifier(b.slug.AppRole()) == before; same != (b == maker) {
			t.Errorf("%s: the password is the one it was prepared with: %v", name, same)
		}
		b.migrate(t)
		sql(t, b.appURL, "SELECT 1")
		if b.WarmPassword(d.ID) != "" {
			t.Errorf("%s keeps the password", name)
		}
	}
}

// left lists what there is under a prepared database's names.
func (b *bundle) left(t *testing.T, d tenancy.WarmDatabase) []string {
	t.Helper()
	return values[string](t, b.pg.URL(), `
		SELECT datname::text FROM pg_database WHERE datname = $1
		UNION ALL SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, $1) ORDER BY 1`, d.ID.DatabaseName())
}

func whole(d tenancy.WarmDatabase) []string {
	return []string{d.ID.DatabaseName(), d.ID.AppRole(), d.ID.OwnerRole()}
}

// surveyed is what the survey says of d, nil if nothing.
func (b *bundle) surveyed(t *testing.T, d tenancy.WarmDatabase) *tenancy.SurveyedWarmDatabase {
	t.Helper()
	found, err := b.SurveyWarm(t.Context(), b.server)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.ID == d.ID {
			return &f
		}
	}
	return nil
}

func (b *bundle) wantGone(t *testing.T, d tenancy.WarmDatabase) {
	t.Helper()
	if got := b.left(t, d); len(got) != 0 {
		t.Errorf("%q are left", got)
	}
}

func writeSet(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		write(t, dir, name, content)
	}
	return dir
}

// TestATakenDatabaseIsWhatCopyingMakes compares the two, for every admin.
func TestATakenDatabaseIsWhatCopyingMakes(t *testing.T) {
	t.Parallel()
	for name, setup := range admins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := plainFiles()
			copied, warm := setup(t, withApp(files), withTemplates), setup(t, withApp(files), withTemplates)
			template := copied.ensureCopy(t)
			d := warm.warmed(t)
			origin := warm.take(t, d)
			if diff := cmp.Diff(tenancy.DatabaseOrigin{Template: template, Warm: true}, origin); diff != "" {
				t.Fatalf("origin (-want +got):\n%s\n%s", diff, warm.log)
			}
			warm.wantGone(t, d)
			if diff := cmp.Diff(warm.whole(), warm.inspect(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			sql(t, warm.appURL, "SELECT 1")
			for _, b := range []*bundle{copied, warm} {
				if got := b.migrate(t); got != "5/5" {
					t.Errorf("version %q, want 5/5", got)
				}
				sql(t, b.appURL, "INSERT INTO thing (name) VALUES ('x')")
			}
			if diff := cmp.Diff(copied.dump(t), warm.dump(t)); diff != "" {
				t.Errorf("(-copied +taken):\n%s", diff)
			}
			roles := func(b *bundle) []string {
				return values[string](t, b.pg.URL(), `
					SELECT replace(concat_ws(' ', rolname, rolcanlogin, rolinherit, rolcreatedb, rolcreaterole, rolsuper, rolconnlimit, rolvaliduntil, rolconfig::text,
					       (SELECT string_agg(m.roleid::regrole::text, ',') FROM pg_auth_members m WHERE m.member = r.oid)), $1, 'TENANT')
					FROM pg_roles r WHERE rolname IN ($1 || '_owner', $1 || '_app') ORDER BY rolname`, b.slug.DatabaseName())
			}
			if diff := cmp.Diff(roles(copied), roles(warm)); diff != "" {
				t.Errorf("roles (-copied +taken):\n%s", diff)
			}
			wantRefused(t, copied.appIn(warm.slug.DatabaseName()), "SELECT 1")
			wantRefused(t, warm.appIn(copied.slug.DatabaseName()), "SELECT 1")
			// A second Do finds what the first made, and what another job claimed is
			// not looked at.
			other := warm.warmed(t)
			if origin := warm.take(t, other); origin != (tenancy.DatabaseOrigin{}) {
				t.Errorf("taken again: %+v", origin)
			}
			if diff := cmp.Diff(whole(other), warm.left(t, other)); diff != "" {
				t.Errorf("the other (-want +got):\n%s", diff)
			}
			warm.drop(t)
			if got := warm.inspect(t); !got.Empty() {
				t.Errorf("after drop there is %+v", got)
			}
			copied.dropTemplate(t, template)
		})
	}
}

// TestNobodyGetsIntoAPreparedDatabase: not its own role, nor another tenant's, nor the
// superuser; and it is no tenant's.
func TestNobodyGetsIntoAPreparedDatabase(t *testing.T) {
	t.Parallel()
	for name, setup := range admins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, withTemplates)
			b.ensure(t)
			d := b.warmed(t)
			for _, url := range []string{b.appIn(d.ID.DatabaseName()), b.pg.DatabaseURL(d.ID.DatabaseName())} {
				if pg, ok := errors.AsType[*pgconn.PgError](trySQL(t, url, "SELECT 1")); !ok || pg.Code != "55000" {
					t.Errorf("a prepared database lets someone in: %v", pg)
				}
			}
			own := strings.NewReplacer(b.slug.AppRole(), d.ID.AppRole(), b.slug.DatabaseName(), d.ID.DatabaseName()).Replace(b.appURL)
			if err := trySQL(t, own, "SELECT 1"); err == nil {
				t.Error("its own role can log in")
			}
			if got := values[string](t, b.pg.URL(), `
				SELECT concat_ws(' ', datallowconn, r.rolcanlogin, o.rolcanlogin, o.rolpassword, pg_get_userbyid(datdba) = o.rolname,
				       (SELECT string_agg(DISTINCT a.grantee::regrole::text, ',') FROM aclexplode(datacl) a WHERE a.grantee NOT IN (r.oid, o.oid)))
				FROM pg_database, pg_authid r, pg_authid o WHERE datname = $1 AND r.rolname = $1 || '_app' AND o.rolname = $1 || '_owner'`,
				d.ID.DatabaseName()); len(got) != 1 || got[0] != "f f f t tenantry_owner" {
				t.Errorf("door, logins, password, owner and others' rights: %q", got)
			}
			found, err := b.Survey(t.Context(), b.server)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				if strings.Contains(string(f.Slug), "warm") {
					t.Errorf("the survey of tenants has %+v", f)
				}
			}
			if diff := cmp.Diff(&tenancy.SurveyedWarmDatabase{ID: d.ID, Database: true, Template: d.Template}, b.surveyed(t, d)); diff != "" {
				t.Errorf("survey (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatCannotBeTakenIsCopied: whatever is amiss with a prepared database, the
// tenant gets a copy of the template, and it stays as it is.
func TestWhatCannotBeTakenIsCopied(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, b *bundle, d tenancy.WarmDatabase){
		"absent": func(t *testing.T, b *bundle, d tenancy.WarmDatabase) {
			if err := b.DropWarm(t.Context(), b.server, d.ID); err != nil {
				t.Fatal(err)
			}
		},
		"unfinished": func(t *testing.T, b *bundle, d tenancy.WarmDatabase) {
			sql(t, b.pg.URL(), "COMMENT ON DATABASE "+d.ID.DatabaseName()+" IS 'tenantry warm database, unfinished'")
		},
		"not marked": func(t *testing.T, b *bundle, d tenancy.WarmDatabase) {
			sql(t, b.pg.URL(), "COMMENT ON DATABASE "+d.ID.DatabaseName()+" IS NULL")
		},
		"of other migrations": func(t *testing.T, b *bundle, d tenancy.WarmDatabase) {
			for _, on := range []string{"DATABASE " + d.ID.DatabaseName(), "ROLE " + d.ID.AppRole(), "ROLE " + d.ID.OwnerRole()} {
				sql(t, b.pg.URL(), "COMMENT ON "+on+" IS 'tenantry warm database of tenantry_template_00000000000000000000'")
			}
		},
		"foreign role": func(t *testing.T, b *bundle, d tenancy.WarmDatabase) {
			sql(t, b.pg.URL(), "COMMENT ON ROLE "+d.ID.AppRole()+" IS 'mine'")
		},
		"role gone": func(t *testing.T, b *bundle, d tenancy.WarmDatabase) {
			sql(t, b.pg.URL(), "ALTER ROLE "+d.ID.AppRole()+" RENAME TO kept_"+d.ID.AppRole()[:40])
			t.Cleanup(func() {
				if conn, err := pgx.Connect(context.Background(), b.pg.URL()); err == nil {
					defer conn.Close(context.Background())
					_, _ = conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+d.ID.DatabaseName())
					_, _ = conn.Exec(context.Background(), "DROP ROLE kept_"+d.ID.AppRole()[:40])
				}
			})
		},
		"open": func(t *testing.T, b *bundle, d tenancy.WarmDatabase) {
			sql(t, b.pg.URL(), "ALTER DATABASE "+d.ID.DatabaseName()+" ALLOW_CONNECTIONS true")
		},
		"half dropped": func(t *testing.T, b *bundle, d tenancy.WarmDatabase) {
			sql(t, b.pg.URL(), "UPDATE pg_database SET datconnlimit = -2 WHERE datname = '"+d.ID.DatabaseName()+"'")
		},
		"occupied": func(t *testing.T, b *bundle, d tenancy.WarmDatabase) {
			door := "ALTER DATABASE " + d.ID.DatabaseName() + " ALLOW_CONNECTIONS "
			sql(t, b.pg.URL(), door+"true")
			conn, err := pgx.Connect(t.Context(), b.pg.DatabaseURL(d.ID.DatabaseName()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			sql(t, b.pg.URL(), door+"false")
		},
		// The server refuses a part of it, so none of it is done.
		"not the admin's": func(t *testing.T, b *bundle, d tenancy.WarmDatabase) {
			sql(t, b.pg.URL(), "ALTER DATABASE "+d.ID.DatabaseName()+" OWNER TO postgres")
			admin := "other_" + randomHex(4)
			addLimited(t, b.pg.URL(), admin)
			url, _ := b.vault.Value(t.Context(), "admin-url")
			b.vault.set("admin-url", strings.Replace(url, strings.SplitAfter(strings.SplitN(url, "@", 2)[0], "//")[1], admin+":limited", 1))
			if _, err := b.Resolve(t.Context(), b.server); err != nil {
				t.Fatal(err)
			}
			b.vault.set("admin-url", url)
			t.Cleanup(func() {
				if _, err := b.Resolve(context.Background(), b.server); err != nil {
					t.Error(err)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, withTemplates)
			d := b.warmed(t)
			spoil(t, b, d)
			before := b.left(t, d)
			began := time.Now()
			if origin := b.take(t, d); origin.Warm {
				t.Errorf("it was taken: %+v", origin)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %s: who is in it was waited for", took)
			}
			if !strings.Contains(b.log.String(), "cannot take a prepared database") {
				t.Errorf("nothing was said:\n%s", b.log)
			}
			if got := b.migrate(t); got != "5/0" {
				t.Errorf("version %q, want 5/0", got)
			}
			sql(t, b.appURL, "SELECT key FROM settings.setting")
			if diff := cmp.Diff(before, b.left(t, d)); diff != "" {
				t.Errorf("what could not be taken (-before +after):\n%s", diff)
			}
		})
	}
}

// TestWarmMayBeRepeated, and so may DropWarm; each may follow half of either.
func TestWarmMayBeRepeated(t *testing.T) {
	t.Parallel()
	for name, setup := range admins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, withTemplates)
			d := b.warmed(t)
			oid := func() uint32 {
				return values[uint32](t, b.pg.URL(), "SELECT oid FROM pg_database WHERE datname = $1", d.ID.DatabaseName())[0]
			}
			first := oid()
			if err := b.Warm(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if oid() != first {
				t.Error("a finished one was made again")
			}
			for range 2 {
				if err := b.DropWarm(t.Context(), b.server, d.ID); err != nil {
					t.Fatal(err)
				}
				b.wantGone(t, d)
			}
			if err := b.Warm(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if origin := b.take(t, d); !origin.Warm {
				t.Errorf("%+v", origin)
			}
			// What was taken is the tenant's.
			if err := b.DropWarm(t.Context(), b.server, d.ID); err != nil {
				t.Fatal(err)
			}
			sql(t, b.appURL, "SELECT 1")
		})
	}
}

// TestHalfAPreparedDatabase: what a maker left that was killed at whatever point is
// not taken; the next maker makes it again, or it is dropped.
func TestHalfAPreparedDatabase(t *testing.T) {
	t.Parallel()
	const mark = "tenantry warm database, unfinished"
	roles := `CREATE ROLE %D%_owner NOLOGIN; COMMENT ON ROLE %D%_owner IS '` + mark + `'; CREATE ROLE %D%_app NOLOGIN; COMMENT ON ROLE %D%_app IS '` + mark + `'`
	create := `CREATE DATABASE %D% OWNER %D%_owner TEMPLATE %T% ALLOW_CONNECTIONS false`
	open := `COMMENT ON DATABASE %D% IS '` + mark + `'; REVOKE ALL ON DATABASE %D% FROM PUBLIC; ALTER DATABASE %D% ALLOW_CONNECTIONS true`
	for name, statements := range map[string][]string{
		"nothing":      nil,
		"one role":     {`CREATE ROLE %D%_owner NOLOGIN; COMMENT ON ROLE %D%_owner IS '` + mark + `'`},
		"roles":        {roles},
		"not marked":   {roles, create},
		"open":         {roles, create, open},
		"half dropped": {roles, create, open, `UPDATE pg_database SET datconnlimit = -2 WHERE datname = '%D%'`},
		"database gone": {
			"WARM", `DROP DATABASE %D%`,
		},
		"one role gone": {"WARM", `DROP DATABASE %D%`, `DROP ROLE %D%_app`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, then := range []string{"take", "warm", "drop"} {
				b := setup(t, withTemplates)
				b.ensure(t) // there is a template
				b.drop(t)
				d := b.newWarm(t)
				for _, s := range statements {
					if s == "WARM" {
						if err := b.Warm(t.Context(), d); err != nil {
							t.Fatal(err)
						}
						continue
					}
					sql(t, b.pg.URL(), strings.NewReplacer("%D%", d.ID.DatabaseName(), "%T%", d.Template).Replace(s))
				}
				if got := b.surveyed(t, d); (got == nil) != (name == "nothing") || got != nil && got.Template != "" {
					t.Errorf("survey: %+v", got)
				}
				switch then {
				case "take":
					if origin := b.take(t, d); origin.Warm {
						t.Error("half of one was taken")
					}
				case "warm":
					if err := b.Warm(t.Context(), d); err != nil {
						t.Fatal(err)
					}
					if origin := b.take(t, d); !origin.Warm {
						t.Errorf("it was not taken:\n%s", b.log)
					}
				}
				if then != "drop" {
					b.migrate(t)
					sql(t, b.appURL, "SELECT key FROM settings.setting")
				}
				if err := b.DropWarm(t.Context(), b.server, d.ID); err != nil {
					t.Fatal(err)
				}
				b.wantGone(t, d)
			}
		})
	}
}

// TestForeignThingsUnderAPreparedName are neither used nor dropped.
func TestForeignThingsUnderAPreparedName(t *testing.T) {
	t.Parallel()
	b := setup(t, withTemplates)
	d := b.newWarm(t)
	sql(t, b.pg.URL(), "CREATE ROLE "+d.ID.OwnerRole())
	sql(t, b.pg.URL(), "CREATE DATABASE "+d.ID.DatabaseName())
	before := b.left(t, d)
	wantCode(t, b.Warm(t.Context(), d), tenancy.CodePartialState, false)
	wantCode(t, b.DropWarm(t.Context(), b.server, d.ID), tenancy.CodePartialState, false)
	if diff := cmp.Diff(before, b.left(t, d)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if got := b.surveyed(t, d); got != nil {
		t.Errorf("survey: %+v", got)
	}
}

// TestTheFenceStopsAMaker before each of its effects, and what it leaves is dropped.
func TestTheFenceStopsAMaker(t *testing.T) {
	t.Parallel()
	b := setup(t, withTemplates)
	b.ensure(t) // there is a template
	lost := tenancy.Errorf(tenancy.CodeLeaseLost, "lost")
	for asked := 0; ; asked++ {
		d := b.newWarm(t)
		left := asked
		ctx := tenancy.WithFence(t.Context(), func(context.Context) error {
			if left == 0 {
				return lost
			}
			left--
			return nil
		})
		err := b.Warm(ctx, d)
		got := b.left(t, d)
		if err == nil {
			if asked < 5 || !slices.Equal(got, whole(d)) {
				t.Errorf("done after %d questions: %q", asked, got)
			}
			return
		}
		wantCode(t, err, tenancy.CodeLeaseLost, false)
		if s := b.surveyed(t, d); s != nil && s.Template != "" {
			t.Errorf("finished after %d questions", asked)
		}
		if err := b.DropWarm(t.Context(), b.server, d.ID); err != nil {
			t.Fatal(err)
		}
		b.wantGone(t, d)
	}
}

// TestTheFenceStopsATaker: a worker that lost the job renames nothing.
func TestTheFenceStopsATaker(t *testing.T) {
	t.Parallel()
	b := setup(t, withTemplates)
	d := b.warmed(t)
	setup(t, withTemplates).ensure(t) // which shuts the maintenance databases
	ctx := tenancy.WithFence(t.Context(), func(context.Context) error { return tenancy.Errorf(tenancy.CodeLeaseLost, "lost") })
	_, err := b.EnsureDatabase(ctx, b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{Warm: d.ID})
	wantCode(t, err, tenancy.CodeLeaseLost, false)
	if diff := cmp.Diff(whole(d), b.left(t, d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := b.inspect(t); !got.Empty() {
		t.Errorf("there is %+v", got)
	}
}

// TestASuspendedMakerIsEvicted: whoever drops what it held goes on without it.
func TestASuspendedMakerIsEvicted(t *testing.T) {
	t.Parallel()
	b := setup(t, withTemplates)
	b.ensure(t)
	d := b.newWarm(t)
	atWork, goOn := make(chan struct{}), make(chan struct{})
	asked := 0
	ctx := tenancy.WithFence(t.Context(), func(context.Context) error {
		if asked++; asked == 3 { // the roles are there
			close(atWork)
			<-goOn
		}
		return nil
	})
	ended := make(chan error, 1)
	go func() { ended <- b.Warm(ctx, d) }()
	<-atWork
	later := tenancy.WithFence(t.Context(), func(context.Context) error { return nil })
	if err := b.DropWarm(later, b.server, d.ID); err != nil {
		t.Fatal(err)
	}
	b.wantGone(t, d)
	close(goOn)
	if err := <-ended; err == nil {
		t.Error("the maker went on without the lock")
	}
	b.wantGone(t, d)
}

// TestChangedSetAndPreparedDatabases: what was prepared for other files is never
// handed out, and nothing is prepared for files that are gone.
func TestChangedSetAndPreparedDatabases(t *testing.T) {
	t.Parallel()
	dir := writeSet(t, map[string]string{"1_a.up.sql": "CREATE TABLE a" + randomHex(4) + " ()"})
	b, later := setup(t, withApp(os.DirFS(dir)), withTemplates), setup(t, withApp(os.DirFS(dir)), withTemplates)
	old, unused := b.warmed(t), b.newWarm(t)
	write(t, dir, "2_b.up.sql", "CREATE TABLE b ()")
	if origin := b.take(t, old); origin.Warm || origin.Template == old.Template {
		t.Errorf("a stale one was handed out: %+v", origin)
	}
	wantCode(t, b.Warm(t.Context(), unused), tenancy.CodeConflict, false)
	b.wantGone(t, unused)
	fresh := later.warmed(t)
	if origin := later.take(t, fresh); !origin.Warm {
		t.Errorf("%+v", origin)
	}
	for _, x := range []*bundle{b, later} {
		if got := x.migrate(t); got != "5/2" {
			t.Errorf("version %q, want 5/2", got)
		}
		sql(t, x.appURL, "SELECT FROM b")
	}
	b.dropTemplate(t, old.Template)
	b.dropTemplate(t, fresh.Template)
}

// TestNoTemplateNoPreparedDatabase: a set that cannot live in a template has none.
func TestNoTemplateNoPreparedDatabase(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*tenantdb.Config){
		"switched off": withoutTemplates,
		"marked":       withApp(os.DirFS(writeSet(t, map[string]string{"1_a.up.sql": "SELECT 1", "no-template": ""}))),
	} {
		if b := setup(t, withTemplates, change); b.Template() != "" {
			t.Errorf("%s: template %q", name, b.Template())
		}
	}
	files := plainFiles()
	files["6_unfit.up.sql"] = files["1_tables.up.sql"] // the table is there already
	b := setup(t, withTemplates, withApp(files))
	d := b.newWarm(t)
	wantCode(t, b.Warm(t.Context(), d), tenancy.CodeConflict, false)
	b.wantGone(t, d)
}

// TestFiftyTenantsAndEightPrepared at once: eight are taken, the others copied, and
// nobody is told that a database is in use.
func TestFiftyTenantsAndEightPrepared(t *testing.T) {
	t.Parallel()
	files := plainFiles()
	bundles := make([]*bundle, 50)
	for i := range bundles {
		bundles[i] = setup(t, withApp(files), withTemplates)
	}
	prepared := make([]tenancy.WarmDatabase, 8)
	for i := range prepared {
		prepared[i] = bundles[0].warmed(t)
	}
	var origins [50]tenancy.DatabaseOrigin
	var errs [50]error
	done := make(chan struct{})
	for i, b := range bundles {
		// Five processes of ten jobs each.
		worker := bundles[i/10]
		b.server = worker.server
		var warm tenancy.WarmDatabaseID
		if i%6 == 0 && i/6 < len(prepared) {
			warm = prepared[i/6].ID
		}
		go func() {
			defer func() { done <- struct{}{} }()
			if origins[i], errs[i] = worker.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{Warm: warm}); errs[i] == nil {
				_, errs[i] = worker.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
			}
		}()
	}
	for range bundles {
		<-done
	}
	taken := 0
	for i, b := range bundles {
		if errs[i] != nil || origins[i].Template != prepared[0].Template {
			t.Errorf("tenant %d: %+v, %v", i, origins[i], errs[i])
		}
		if origins[i].Warm {
			taken++
		}
		if log := b.log.String(); strings.Contains(log, "cannot copy") || strings.Contains(log, "cannot take") {
			t.Errorf("refused:\n%s", log)
		}
	}
	if taken != len(prepared) {
		t.Errorf("%d were taken", taken)
	}
	bundles[0].dropTemplate(t, prepared[0].Template)
}

// TestPreparedNames fit into what Postgres keeps of a name, and lead back to the id.
func TestPreparedNames(t *testing.T) {
	t.Parallel()
	id := tenancy.WarmDatabaseID(uuid.NewString())
	for _, name := range []string{id.DatabaseName(), id.OwnerRole(), id.AppRole()} {
		if len(name) > 63 {
			t.Errorf("%s has %d bytes", name, len(name))
		}
	}
	if got, ok := tenancy.ParseWarmDatabaseName(id.DatabaseName()); !ok || got != id {
		t.Errorf("%s leads to %q", id.DatabaseName(), got)
	}
	for _, name := range []string{"", "tenantry_warm_", "tenant_acme", id.AppRole(), fmt.Sprintf("tenantry_warm_%032X", 0xabc)} {
		if got, ok := tenancy.ParseWarmDatabaseName(name); ok {
			t.Errorf("%q leads to %q", name, got)
		}
	}
}
