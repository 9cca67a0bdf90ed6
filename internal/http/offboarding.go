package http

import (
	"bufio"
	"errors"
	"io"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// offboardRequest is the body of DELETE /platform/tenants/{slug}; all of it may
// be left out.
type offboardRequest struct {
	Purge   bool   `json:"purge"`
	Confirm string `json:"confirm"`
	Now     bool   `json:"now"`
	// Backup is nil unless said; a purge without it takes one.
	Backup        *bool `json:"backup"`
	Adopt         bool  `json:"adopt"`
	RetentionDays *int  `json:"retentionDays"`
}

func (r offboardRequest) offboarding(slug tenancy.Slug) (tenancy.Offboarding, error) {
	var f faults
	o := tenancy.Offboarding{Purge: r.Purge, Now: r.Now, Adopt: r.Adopt, NoBackup: r.Backup != nil && !*r.Backup}
	switch {
	case r.Purge && r.Confirm != string(slug):
		f.Add("/confirm", faultInvalid, "To purge a tenant, repeat its slug here.")
	case !r.Purge && r.Confirm != "" && r.Confirm != string(slug):
		f.Add("/confirm", faultInvalid, "This is another slug than the one in the path.")
	}
	if !r.Purge && (r.Adopt || r.Backup != nil) {
		f.Add("/purge", faultInvalid, "backup and adopt are for a purge only.")
	}
	if r.Purge && (r.Now || r.RetentionDays != nil) {
		f.Add("/purge", faultInvalid, "now and retentionDays are for offboarding without a purge only.")
	}
	if r.RetentionDays != nil {
		if o.RetentionDays = *r.RetentionDays; o.RetentionDays < 1 || o.RetentionDays > tenancy.MaxRetentionDays {
			f.Add("/retentionDays", faultInvalid, "This must be from 1 to %d.", tenancy.MaxRetentionDays)
		}
	}
	return o, f.Err()
}

// offboardTenant serves DELETE /platform/tenants/{slug}: it begins the tenant's
// retention or, on purge, its end. A slug without a master row can be purged of
// what else there is.
func (s *server) offboardTenant(c *gin.Context) error {
	if _, err := slugOf(c); err != nil {
		return err
	}
	var req offboardRequest
	// A body of no known length may be empty too.
	body := bufio.NewReader(c.Request.Body)
	if _, err := body.Peek(1); !errors.Is(err, io.EOF) {
		c.Request.Body = io.NopCloser(body)
		if err := decode(c, &req); err != nil {
			return err
		}
	}
	job, err := s.offboard(c, req)
	if err != nil {
		return err
	}
	return s.writeAccepted(c, job)
}

func (s *server) offboard(c *gin.Context, req offboardRequest) (tenancy.Job, error) {
	slug, err := slugOf(c)
	if err != nil {
		return tenancy.Job{}, err
	}
	o, err := req.offboarding(slug)
	if err != nil {
		return tenancy.Job{}, err
	}
	return s.submitOffboarding(c, slug, o)
}

// readmitTenant serves POST /platform/tenants/{slug}/readmission: it takes an
// offboarding back.
func (s *server) readmitTenant(c *gin.Context) error {
	job, err := s.readmit(c)
	if err != nil {
		return err
	}
	return s.writeAccepted(c, job)
}

func (s *server) readmit(c *gin.Context) (tenancy.Job, error) {
	slug, err := slugOf(c)
	if err != nil {
		return tenancy.Job{}, err
	}
	return s.submitOffboarding(c, slug, tenancy.Offboarding{Cancel: true})
}

func (s *server) submitOffboarding(c *gin.Context, slug tenancy.Slug, o tenancy.Offboarding) (tenancy.Job, error) {
	if err := s.requireProvisioning(); err != nil {
		return tenancy.Job{}, err
	}
	var f faults
	key := f.idempotencyKey(c)
	if err := f.Err(); err != nil {
		return tenancy.Job{}, err
	}
	return s.Jobs.SubmitJob(c.Request.Context(), tenancy.NewJob{
		Kind: tenancy.KindOffboard, Slug: slug, Offboarding: o,
		RequestedBy: actor(c), RequestID: exchangeOf(c).requestID, IdempotencyKey: key,
	})
}
