package store_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (p plane) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := p.sql.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// Whoever may do everything can still change the trail, but not unseen.
func TestVerifyAuditFindsWhatWasTamperedWith(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]struct {
		sql  string
		want string
	}{
		"nothing":         {"SELECT 1", ""},
		"edited":          {`UPDATE identity.tenant_audit SET actor = 'someone else' WHERE audit_id = 3`, "3 this row was changed"},
		"edited details":  {`UPDATE identity.tenant_audit SET details = '{"n": 9}' WHERE audit_id = 3`, "3 this row was changed"},
		"edited time":     {`UPDATE identity.tenant_audit SET at = at - interval '1 microsecond' WHERE audit_id = 1`, "1 this row was changed"},
		"removed":         {`DELETE FROM identity.tenant_audit WHERE audit_id = 3`, "4 a row before this one was removed"},
		"removed first":   {`DELETE FROM identity.tenant_audit WHERE audit_id = 1`, "2 a row before this one was removed"},
		"removed last":    {`DELETE FROM identity.tenant_audit WHERE audit_id = 5`, "5 the last row is not the one that was written last"},
		"removed all":     {`DELETE FROM identity.tenant_audit`, "5 the last row is not the one that was written last"},
		"edited and hash": {`UPDATE identity.tenant_audit a SET actor = 'x', hash = identity.audit_hash(ROW(a.audit_id, a.event_type, a.tenant_id, a.slug, a.platform_user_id, 'x', a.job_id, a.details, a.at, a.prev_hash, a.hash)::identity.tenant_audit) WHERE audit_id = 3`, "4 this row does not follow from the one before it"},
		"inserted": {`INSERT INTO identity.tenant_audit SELECT 6, event_type, tenant_id, slug, platform_user_id, actor, job_id, details, at, prev_hash, hash
			FROM identity.tenant_audit WHERE audit_id = 5`, "5 the last row is not the one that was written last"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setup(t)
			for i := range 5 {
				if err := p.AppendAudit(t.Context(), tenancy.AuditEvent{
					Type: tenancy.EventAccessDenied, Actor: operator, Details: map[string]any{"n": i},
				}); err != nil {
					t.Fatal(err)
				}
			}
			p.exec(t, `SET session_replication_role = replica`) // a superuser past every trigger
			p.exec(t, tamper.sql)
			rows, head, faults, err := p.VerifyAudit(t.Context(), "", 1)
			if err != nil || len(head) != 64 {
				t.Fatal(rows, head, err)
			}
			got := ""
			if len(faults) > 0 {
				got = fmt.Sprintf("%d %s", faults[0].ID, faults[0].What)
			}
			if got != tamper.want {
				t.Errorf("found %q, want %q", got, tamper.want)
			}
		})
	}
}

// A trail that is longer than one statement has time for is checked all the same,
// and so is each row after which another statement begins.
func TestVerifyAuditOfALongTrail(t *testing.T) {
	t.Parallel()
	p := setup(t)
	const length = 20_001
	p.exec(t, `SET session_replication_role = replica`)
	p.exec(t, fmt.Sprintf(`
		DO $$ DECLARE r identity.tenant_audit; BEGIN
			r.event_type := 'ACCESS_DENIED'; r.slug := ''; r.actor := 'anonymous'; r.details := '{}'; r.at := now(); r.hash := '';
			FOR i IN 1..%d LOOP
				r.audit_id := i; r.prev_hash := r.hash; r.hash := identity.audit_hash(r);
				INSERT INTO identity.tenant_audit SELECT r.*;
			END LOOP;
			UPDATE identity.audit_head SET audit_id = r.audit_id, hash = r.hash;
		END $$`, length))
	// Rather than to wait for a timeout, count what a statement hashes.
	p.exec(t, `
		ALTER FUNCTION identity.audit_hash RENAME TO audit_hash_of;
		CREATE FUNCTION identity.audit_hash(r identity.tenant_audit) RETURNS bytea LANGUAGE plpgsql AS $$
		DECLARE
			seen text[] := string_to_array(current_setting('test.seen', true), ' ');
			n    integer := CASE WHEN seen[1] = extract(epoch FROM statement_timestamp())::text THEN seen[2]::integer ELSE 0 END;
		BEGIN
			IF n >= 10000 THEN
				RAISE 'canceling statement due to statement timeout' USING ERRCODE = 'query_canceled';
			END IF;
			PERFORM set_config('test.seen', extract(epoch FROM statement_timestamp())::text || ' ' || n + 1, false);
			RETURN identity.audit_hash_of(r);
		END $$`)
	verify := func(want ...store.AuditFault) {
		t.Helper()
		rows, _, faults, err := p.VerifyAudit(t.Context(), "", 5)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, faults); diff != "" {
			t.Errorf("of %d rows (-want +got):\n%s", rows, diff)
		}
	}
	verify()
	p.exec(t, `
		UPDATE identity.tenant_audit a SET hash = sha256(hash) WHERE audit_id = 20000;
		DELETE FROM identity.tenant_audit WHERE audit_id = 10000`)
	verify(
		store.AuditFault{ID: 10001, What: "a row before this one was removed"},
		store.AuditFault{ID: 20000, What: "this row was changed"},
		store.AuditFault{ID: 20001, What: "this row does not follow from the one before it"},
	)
}

func TestConcurrentAuditRowsMakeOneChain(t *testing.T) {
	t.Parallel()
	p := setup(t)
	var wait sync.WaitGroup
	for range 40 {
		wait.Go(func() {
			if err := p.AppendAudit(t.Context(), tenancy.AuditEvent{Type: tenancy.EventAccessDenied, Actor: operator}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	rows, _, faults, err := p.VerifyAudit(t.Context(), "", 5)
	if rows != 40 || len(faults) != 0 || err != nil {
		t.Errorf("%d rows, faults %v, %v", rows, faults, err)
	}
}

func TestVerifyAuditKnowsAnAnchor(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	event := tenancy.AuditEvent{Type: tenancy.EventAccessDenied, Actor: operator}
	if err := p.AppendAudit(ctx, event); err != nil {
		t.Fatal(err)
	}
	_, anchor, _, err := p.VerifyAudit(ctx, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendAudit(ctx, event); err != nil {
		t.Fatal(err)
	}
	if _, _, faults, err := p.VerifyAudit(ctx, anchor, 1); err != nil || len(faults) != 0 {
		t.Errorf("faults %v, %v", faults, err)
	}
	if _, _, faults, err := p.VerifyAudit(ctx, "00", 1); err != nil || len(faults) != 1 {
		t.Errorf("faults %v, %v", faults, err)
	}
}
