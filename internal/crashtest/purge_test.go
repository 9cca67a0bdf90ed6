package crashtest_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// submitPurge has the tenant that was submitted provisioned, and records a job
// that purges it.
func (t *trial) submitPurge(ctx context.Context, dump bool) error {
	if _, err := t.finish(ctx, 1); err != nil {
		return err
	}
	if err := t.verdict(ctx, t.job.ID, tenancy.JobComplete); err != nil {
		return fmt.Errorf("before the purge: %w", err)
	}
	if dump {
		t.backups = filepath.Join(t.dir, "backups-"+t.database)
		if err := os.Mkdir(t.backups, 0o700); err != nil {
			return err
		}
	}
	var err error
	t.job, err = t.control.Store.SubmitJob(ctx, tenancy.NewJob{
		Kind: tenancy.KindOffboard, Slug: t.job.Slug, RequestedBy: operator,
		Offboarding: tenancy.Offboarding{Purge: true, NoBackup: !dump},
	})
	t.purges++
	return err
}

// reuse has another tenant provisioned under the purged one's slug.
func (t *trial) reuse(ctx context.Context) error {
	if err := t.submitFor(ctx, t.job.Slug); err != nil {
		return fmt.Errorf("the slug cannot be used again: %w", err)
	}
	_, err := t.finish(ctx, 1)
	return err
}

// kept looks at what a purge leaves on purpose: an audit row of its own, the dump
// that row speaks of, and no mail to be sent.
func (t *trial) kept(ctx context.Context, job tenancy.Job) (v violation) {
	var mine, queued int
	var file, sum string
	err := t.pool.QueryRow(ctx, `
		SELECT count(*), coalesce(max(details #>> ARRAY['backups', $3, 'file']), ''),
		       coalesce(max(details #>> ARRAY['backups', $3, 'sha256']), ''),
		       (SELECT count(*) FROM identity.invitation WHERE tenant_id = $2 AND status = 'queued')
		FROM identity.tenant_audit WHERE job_id = $1 AND tenant_id = $2 AND event_type = 'TENANT_PURGED'`,
		job.ID, job.TenantID, job.Server.Name).Scan(&mine, &file, &sum, &queued)
	if err != nil {
		return violation{"the audit row cannot be read: " + err.Error()}
	}
	if mine != 1 || queued != 0 {
		v = append(v, fmt.Sprintf("audit: %d purged by the job; %d invitations still to be sent", mine, queued))
	}
	if t.backups == "" {
		if file != "" {
			v = append(v, "the audit row speaks of a dump: "+file)
		}
		return v
	}
	if err := t.readDump(ctx, file, sum); err != nil {
		v = append(v, "the dump: "+err.Error())
	}
	return v
}

// readDump reads the only dump of the trial.
func (t *trial) readDump(ctx context.Context, file, sum string) error {
	entries, err := os.ReadDir(t.backups)
	if err != nil {
		return err
	}
	if len(entries) != 1 || filepath.Join(t.backups, entries[0].Name()) != file {
		return fmt.Errorf("there is %v, and the audit row speaks of %q", entries, file)
	}
	dump, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if hash := sha256.Sum256(dump); hex.EncodeToString(hash[:]) != sum {
		return fmt.Errorf("its digest is %x, and the audit row says %s", hash, sum)
	}
	sql, err := exec.CommandContext(ctx, "pg_restore", "--file=-", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pg_restore: %w: %.500s", err, sql)
	}
	for _, part := range []string{"CREATE TABLE public.visits", "admin@tenant.example"} {
		if !strings.Contains(string(sql), part) {
			return fmt.Errorf("it lacks %q", part)
		}
	}
	return nil
}
