package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// makeTemplate makes the master database that every trial gets a copy of.
func (w *world) makeTemplate(ctx context.Context) error {
	if _, err := w.master.Exec(ctx, "CREATE DATABASE "+template); err != nil {
		return err
	}
	databaseURL := w.plane.Master.DatabaseURL(template)
	if _, err := app.MigrateMaster(ctx, databaseURL, ""); err != nil {
		return err
	}
	control, err := app.OpenControl(ctx, config.Config{
		DatabaseURL: databaseURL, KeyVaultURL: w.plane.Vault.URL(), KeyVaultCAFile: w.plane.Vault.CAFile(), WorkerConcurrency: 1,
	}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	defer control.Close()
	for _, s := range w.servers {
		if err := addServer(ctx, control, s, s.pg.URL()); err != nil {
			return err
		}
	}
	return noteWarmDatabases(ctx, databaseURL)
}

func addServer(ctx context.Context, control *app.Control, s server, adminURL string) error {
	ref := "db-admin-" + s.name
	if err := control.Vault.Set(ctx, ref, adminURL); err != nil {
		return err
	}
	_, err := control.Store.AddServer(ctx, tenancy.DBServer{
		Name: s.name, Host: s.pg.Host(), Port: s.pg.Port(), AdminSecretRef: ref, IsActive: true,
	}, operator)
	return err
}

// writeMigrations writes the application's migration sets.
func (w *world) writeMigrations() error {
	files := map[string]string{
		"0001_patients.up.sql": `CREATE TABLE patients (patient_id bigint PRIMARY KEY, name text NOT NULL);`,
		"0002_visits.up.sql": `CREATE TABLE visits (visit_id bigint PRIMARY KEY, patient_id bigint REFERENCES patients);
			CREATE INDEX visits_patient ON visits (patient_id);`,
	}
	var errs [3]error
	w.good, errs[0] = w.writeSet("good", files)
	files["0003_last.up.sql"] = `CREATE TABLE notes (note_id bigint); SELECT 1/0;`
	w.broken, errs[1] = w.writeSet("broken", files)
	files["0003_last.up.sql"] = `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no users here'; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON identity.users FOR EACH ROW EXECUTE FUNCTION refuse();`
	w.poisoned, errs[2] = w.writeSet("poisoned", files)
	return errors.Join(errs[:]...)
}

func (w *world) writeSet(name string, files map[string]string) (dir string, err error) {
	dir = filepath.Join(w.dir, "migrations-"+name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if !templates {
		files = maps.Clone(files)
		files["no-template"] = ""
	}
	for name, sql := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(sql), 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// makeReference has a tenant provisioned.
func (w *world) makeReference() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	t, err := w.newTrial(ctx)
	if err != nil {
		return nil, err
	}
	lines, err := func() ([]string, error) {
		if err := t.submit(ctx); err != nil {
			return nil, err
		}
		if _, err := t.finish(ctx, 1); err != nil {
			return nil, err
		}
		appURL, err := t.vault.Value(ctx, t.job.Slug.SecretName())
		if err != nil {
			return nil, err
		}
		return fingerprint(ctx, appURL, t.job.Slug)
	}()
	if err = errors.Join(err, t.close()); err != nil {
		return nil, fmt.Errorf("cannot make the reference: %w\n%s", err, t.logs())
	}
	return lines, nil
}
