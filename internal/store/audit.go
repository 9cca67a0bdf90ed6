package store

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// appendAudit queues an audit row in the transaction of the change it records.
// It is the last write of a transaction: until commit, others that append wait.
func appendAudit(tx *transaction, e tenancy.AuditEvent) error {
	details, err := json.Marshal(e.Details)
	if err != nil {
		return err
	}
	if e.Details == nil {
		details = []byte("{}")
	}
	tx.Queue(`
		INSERT INTO identity.tenant_audit (event_type, tenant_id, slug, platform_user_id, actor, job_id, details)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		e.Type, nullable(e.TenantID), e.Slug, nullable(e.Actor.UserID), e.Actor.Name, nullable(e.JobID), details)
	return nil
}

// AppendAudit records an event that changes nothing else, such as a refused
// attempt.
func (s *Store) AppendAudit(ctx context.Context, e tenancy.AuditEvent) error {
	return s.inTx(ctx, func(tx *transaction) error { return appendAudit(tx, e) })
}

// ListAudit returns audit rows, newest first, and the cursor of the next page.
func (s *Store) ListAudit(ctx context.Context, f tenancy.AuditFilter) ([]tenancy.AuditEvent, string, error) {
	before := int64(0)
	if f.Page.Cursor != "" {
		key, err := decodeCursor(f.Page)
		if err != nil {
			return nil, "", err
		}
		if before, err = strconv.ParseInt(key, 10, 64); err != nil {
			return nil, "", badCursor()
		}
	}
	limit := pageLimit(f.Page)
	rows, err := s.pool.Query(ctx, `
		SELECT audit_id, event_type, coalesce(tenant_id::text, ''), slug, coalesce(platform_user_id::text, ''),
		       actor, coalesce(job_id::text, ''), details, at
		FROM identity.tenant_audit
		WHERE ($1 = '' OR event_type = $1) AND ($2 = '' OR slug = $2) AND ($3 = '' OR actor = $3)
		  AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::timestamptz IS NULL OR at < $5)
		  AND ($6 = 0 OR audit_id < $6)
		ORDER BY audit_id DESC LIMIT $7`,
		string(f.Type), f.Slug, f.Actor, nullTime(f.From), nullTime(f.To), before, limit+1)
	if err != nil {
		return nil, "", classify(err)
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e tenancy.AuditEvent, err error) {
		err = row.Scan(&e.ID, &e.Type, &e.TenantID, &e.Slug, &e.Actor.UserID, &e.Actor.Name, &e.JobID, &e.Details, &e.At)
		return e, err
	})
	if err != nil {
		return nil, "", classify(err)
	}
	events, next := nextCursor(events, limit, func(e tenancy.AuditEvent) string { return strconv.FormatInt(e.ID, 10) })
	return events, next, nil
}

func nullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// AuditFault is a row at which the audit trail's chain is broken.
type AuditFault struct {
	ID   int64  `json:"auditId"`
	What string `json:"what"`
}

// VerifyAudit recomputes the hash chain of the audit trail. It returns the number
// of rows, the hash of the last one, which may be noted elsewhere as an anchor,
// and the first faults: a row that was changed, one that was removed before it,
// one that was put in, rows missing at the end. An anchor, if not empty, is a
// hash noted earlier that must still be in the chain.
func (s *Store) VerifyAudit(ctx context.Context, anchor string, limit int) (rows int64, head string, faults []AuditFault, err error) {
	err = s.inTx(ctx, func(tx *transaction) error {
		// One view of rows and head.
		if _, err := tx.Exec(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM identity.tenant_audit), encode(hash, 'hex') FROM identity.audit_head`).Scan(&rows, &head)
		if err != nil {
			return err
		}
		found, err := tx.Query(ctx, `
			WITH link AS (
				SELECT audit_id, hash, prev_hash, identity.audit_hash(a) AS computed,
				       coalesce(lag(audit_id) OVER w, 0) AS id_before, coalesce(lag(hash) OVER w, '\x') AS hash_before
				FROM identity.tenant_audit a WINDOW w AS (ORDER BY audit_id)),
			fault AS (
				SELECT audit_id, CASE
					WHEN audit_id <> id_before + 1 THEN 'a row before this one was removed'
					WHEN hash <> computed THEN 'this row was changed'
					WHEN prev_hash <> hash_before THEN 'this row does not follow from the one before it'
				END AS what FROM link
				UNION ALL
				SELECT h.audit_id, 'the last row is not the one that was written last'
				FROM identity.audit_head h
				WHERE h.audit_id <> coalesce((SELECT max(audit_id) FROM identity.tenant_audit), 0)
				   OR h.hash <> coalesce((SELECT hash FROM identity.tenant_audit ORDER BY audit_id DESC LIMIT 1), '\x')
				UNION ALL
				SELECT 0, 'the anchor is not in the chain: it was computed anew'
				WHERE $2 <> '' AND NOT EXISTS (SELECT FROM identity.tenant_audit WHERE encode(hash, 'hex') = lower($2)))
			SELECT audit_id, what FROM fault WHERE what IS NOT NULL ORDER BY audit_id LIMIT $1`, limit, anchor)
		if err != nil {
			return err
		}
		faults, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (f AuditFault, err error) {
			err = row.Scan(&f.ID, &f.What)
			return f, err
		})
		return err
	})
	return rows, head, faults, err
}
