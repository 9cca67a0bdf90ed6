package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"math"
	"slices"
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

// auditRange is how many rows of the audit trail one statement hashes. The trail only
// grows, and a statement has to end within its time.
const auditRange = 10_000

// auditLink is what the chain is checked by.
type auditLink struct {
	id                   int64
	prev, hash, computed []byte
}

// VerifyAudit recomputes the hash chain of the audit trail. It returns the number
// of rows, the hash of the last one, which may be noted elsewhere as an anchor,
// and the first faults: a row that was changed, one that was removed before it,
// one that was put in, rows missing at the end. An anchor, if not empty, is a
// hash noted earlier that must still be in the chain.
func (s *Store) VerifyAudit(ctx context.Context, anchor string, limit int) (rows int64, head string, faults []AuditFault, err error) {
	wanted, noHash := hex.DecodeString(anchor)
	missing := anchor != ""
	err = s.inTx(ctx, func(tx *transaction) error {
		// One view of rows and head.
		if _, err := tx.Exec(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
			return err
		}
		var end, last auditLink
		if err := tx.QueryRow(ctx, `SELECT audit_id, hash FROM identity.audit_head`).Scan(&end.id, &end.hash); err != nil {
			return err
		}
		head = hex.EncodeToString(end.hash)
		for from, more := int64(math.MinInt64), true; more; {
			links, err := auditLinks(ctx, tx, from)
			if err != nil {
				return err
			}
			for _, link := range links {
				if what := link.fault(last); what != "" && len(faults) < limit {
					faults = append(faults, AuditFault{link.id, what})
				}
				missing = missing && (noHash != nil || !bytes.Equal(link.hash, wanted))
				last = link
			}
			rows += int64(len(links))
			more = len(links) == auditRange && last.id < math.MaxInt64
			from = last.id + 1
		}
		if end.id != last.id || !bytes.Equal(end.hash, last.hash) {
			faults = append(faults, AuditFault{end.id, "the last row is not the one that was written last"})
		}
		if missing {
			faults = append(faults, AuditFault{0, "the anchor is not in the chain: it was computed anew"})
		}
		slices.SortStableFunc(faults, func(a, b AuditFault) int { return cmp.Compare(a.ID, b.ID) })
		faults = faults[:min(limit, len(faults))]
		return nil
	})
	return rows, head, faults, err
}

// auditLinks returns the first rows of the trail whose id is not below from.
func auditLinks(ctx context.Context, tx *transaction, from int64) ([]auditLink, error) {
	found, err := tx.Query(ctx, `
		SELECT audit_id, prev_hash, hash, identity.audit_hash(a)
		FROM identity.tenant_audit a WHERE audit_id >= $1 ORDER BY audit_id LIMIT $2`, from, auditRange)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, func(row pgx.CollectableRow) (l auditLink, err error) {
		err = row.Scan(&l.id, &l.prev, &l.hash, &l.computed)
		return l, err
	})
}

// fault says what is wrong with a row that should follow from the one before, ""
// if nothing is.
func (l auditLink) fault(before auditLink) string {
	switch {
	case l.id != before.id+1:
		return "a row before this one was removed"
	case !bytes.Equal(l.hash, l.computed):
		return "this row was changed"
	case !bytes.Equal(l.prev, before.hash):
		return "this row does not follow from the one before it"
	}
	return ""
}
