package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

// noteWarmDatabases has a master database remember the ids of all prepared databases
// that there ever were, so that the oracle knows what to look for.
func noteWarmDatabases(ctx context.Context, databaseURL string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `
		CREATE TABLE public.every_warm_database (warm_database_id uuid);
		CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO public.every_warm_database VALUES (NEW.warm_database_id); RETURN NEW; END $$;
		CREATE TRIGGER note BEFORE INSERT ON identity.warm_database FOR EACH ROW EXECUTE FUNCTION public.note()`)
	return err
}

func (t *trial) poolSize() string {
	if t.warm {
		return "1"
	}
	return "0"
}

// stock turns the pool on and has a prepared database on each server, as if a worker
// had made it, for the migrations that the workers are given.
func (t *trial) stock(ctx context.Context) error {
	if !prepared || t.migrations == t.broken { // which no template can be made of
		return nil
	}
	t.warm = true
	databases, err := tenantdb.New(tenantdb.Config{Secrets: t.vault, AppMigrations: os.DirFS(t.migrations)})
	if err != nil {
		return err
	}
	defer databases.Close()
	servers, err := t.control.Store.ListServers(ctx)
	if err != nil {
		return err
	}
	for _, s := range servers {
		d, err := t.control.Store.AddWarmDatabase(ctx, s.DBServer, databases.Template())
		if err != nil {
			return err
		}
		if err := databases.Warm(ctx, d); err != nil {
			return err
		}
		if err := t.control.Store.WarmDatabaseReady(ctx, d.ID); err != nil {
			return err
		}
	}
	return nil
}

// poolFull waits until each server has its prepared database and there is nothing
// more to tidy up, unless the one who would do it may be frozen.
func (t *trial) poolFull(ctx context.Context) error {
	if !t.warm || t.sleeping {
		return nil
	}
	return until(ctx, "the pool is full", func() (bool, error) {
		var ready, others int
		err := t.pool.QueryRow(ctx, `
			SELECT count(*) FILTER (WHERE state = 'ready'), count(*) FILTER (WHERE state <> 'ready') FROM identity.warm_database`).Scan(&ready, &others)
		return ready == len(t.servers) && others == 0, err
	})
}

// claimed reports whether the first job had a prepared database.
func (t *trial) claimed(ctx context.Context) (claimed bool, err error) {
	err = t.pool.QueryRow(ctx, `
		SELECT coalesce(bool_or(p.detail ? 'warmDatabase'), false) FROM identity.job_phase p
		WHERE p.name = 'placement_resolved' AND p.job_id = (SELECT min(job_id::text)::uuid FROM identity.job)`).Scan(&claimed)
	return claimed, err
}

// everyWarmDatabase is what there ever was: the id and its row's state, "gone" without.
func (t *trial) everyWarmDatabase(ctx context.Context) (ids []tenancy.WarmDatabaseID, states []string, err error) {
	rows, err := t.pool.Query(ctx, `
		SELECT e.warm_database_id, coalesce(w.state || ' on ' || s.name, 'gone')
		FROM public.every_warm_database e LEFT JOIN identity.warm_database w USING (warm_database_id) LEFT JOIN identity.db_server s USING (db_server_id)`)
	if err != nil {
		return nil, nil, err
	}
	var id tenancy.WarmDatabaseID
	var state string
	_, err = pgx.ForEachRow(rows, []any{&id, &state}, func() error {
		ids, states = append(ids, id), append(states, state)
		return nil
	})
	return ids, states, err
}

// strays are prepared databases that are not as master has them: a row that promises
// one is ready, and there is a whole one that nobody gets into; without a row there is
// nothing.
func (t *trial) strays(ctx context.Context) (v violation, err error) {
	ids, states, err := t.everyWarmDatabase(ctx)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		var got []string
		for _, s := range t.servers {
			found, err := column[string](ctx, s.Pool, `
				SELECT concat_ws(' ', $2::text, 'database', regexp_replace(shobj_description(oid, 'pg_database'), ' of tenantry_template_[0-9a-f]{20}$', ''), datallowconn)
				FROM pg_database WHERE datname = $1
				UNION ALL SELECT concat_ws(' ', $2, 'role', regexp_replace(shobj_description(oid, 'pg_authid'), ' of tenantry_template_[0-9a-f]{20}$', ''), rolcanlogin)
				FROM pg_roles WHERE starts_with(rolname::text, $1)`, id.DatabaseName(), s.name)
			if err != nil {
				return nil, err
			}
			got = append(got, found...)
		}
		var want []string
		if on, ready := strings.CutPrefix(states[i], "ready on "); ready {
			want = []string{on + " database tenantry warm database f", on + " role tenantry warm database f", on + " role tenantry warm database f"}
		} else if states[i] != "gone" {
			v = append(v, fmt.Sprintf("prepared database %s is %s", id, states[i]))
			continue
		}
		if !slices.Equal(want, got) {
			v = append(v, fmt.Sprintf("prepared database %s is %s, and there is %q", id, states[i], got))
		}
	}
	return v, nil
}

// dropWarmDatabases keeps the shared servers small.
func (t *trial) dropWarmDatabases(ctx context.Context) error {
	ids, _, err := t.everyWarmDatabase(ctx)
	for _, id := range ids {
		for _, s := range t.servers {
			for _, sql := range []string{
				"DROP DATABASE IF EXISTS " + id.DatabaseName() + " WITH (FORCE)",
				"DROP ROLE IF EXISTS " + id.AppRole(), "DROP ROLE IF EXISTS " + id.OwnerRole(),
			} {
				_, dropErr := s.Exec(ctx, sql)
				err = errors.Join(err, dropErr)
			}
		}
	}
	return err
}
