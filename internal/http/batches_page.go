package http

import (
	"io"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// maxUpload is the most a file may have with the form around it, in bytes.
const maxUpload = maxBatchBody + 64<<10

// batchesPage serves the page of GET /platform/tenant-batches.
func (s *server) batchesPage(c *gin.Context) error {
	q := query{c: c}
	listed := q.page()
	page := console.BatchesPage{Frame: s.frame(c, "Bulk", "Bulk")}
	if err := q.Err(); err != nil {
		page.Fault = tenancy.AsError(err).Message
		return s.render(c, http.StatusUnprocessableEntity, page, "")
	}
	var err error
	if page.Batches, page.Next, err = s.Batches.ListBatches(c.Request.Context(), listed); err != nil {
		return err
	}
	return s.render(c, http.StatusOK, page, "")
}

// newBatchPage serves GET /platform/tenant-batches/new.
func (s *server) newBatchPage(c *gin.Context) error {
	return s.render(c, http.StatusOK, console.NewBatchPage{Frame: s.frame(c, "Bulk", "Bulk import")}, "")
}

// createBatchFromPage serves the upload's two steps: the file is checked and the
// verdict on each row shown, and then sent again to be recorded.
func (s *server) createBatchFromPage(c *gin.Context) error {
	if err := s.requireProvisioning(); err != nil {
		return err
	}
	page := console.NewBatchPage{Frame: s.frame(c, "Bulk", "Bulk import"), Key: uuid.NewString()}
	file, err := readUpload(c)
	if err != nil {
		return s.batchFaults(c, page, err)
	}
	if key := c.Request.FormValue("key"); key != "" {
		c.Request.Header.Set("Idempotency-Key", key)
	}
	page.File, page.DryRun = file, c.Request.FormValue("dryRun") != ""
	rows, err := tenancy.ReadBatchFile(strings.NewReader(file), tenancy.MaxBatchRows)
	if err != nil {
		return s.batchFaults(c, page, err)
	}
	n, err := (batchRequest{Rows: rows, DryRun: page.DryRun}).newBatch(c, s.Reserved)
	if err != nil {
		return s.batchFaults(c, page, err)
	}
	if c.Request.FormValue("step") == "submit" {
		b, err := s.Batches.SubmitBatch(c.Request.Context(), n)
		if err != nil {
			return s.batchFaults(c, page, err)
		}
		return redirect(c, "/platform/tenant-batches/"+b.ID.String())
	}
	check, err := s.Batches.CheckBatch(c.Request.Context(), n)
	if err != nil {
		return err
	}
	page.Check = &check
	for _, r := range check.Rows {
		if r.Status == tenancy.RowValid {
			page.Valid++
		}
	}
	return s.render(c, http.StatusOK, page, "")
}

// readUpload returns the file or, at the second step, its text.
func readUpload(c *gin.Context) (string, error) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxUpload)
	if err := c.Request.ParseMultipartForm(maxUpload); err != nil {
		return "", withStatus(http.StatusRequestEntityTooLarge, tenancy.Errorf(tenancy.CodeInvalidRequest, "The file cannot be read, or is larger than 1 MiB."))
	}
	defer c.Request.MultipartForm.RemoveAll() //nolint:errcheck // it is all in memory
	if text := c.Request.FormValue("text"); text != "" {
		return lines(text), nil
	}
	part, _, err := c.Request.FormFile("file")
	if err != nil {
		return "", missingFile()
	}
	defer part.Close()
	data, err := io.ReadAll(io.LimitReader(part, maxBatchBody+1))
	switch {
	case err != nil:
		return "", tenancy.Errorf(tenancy.CodeInvalidRequest, "The file did not arrive whole.")
	case len(data) > maxBatchBody:
		return "", tenancy.Errorf(tenancy.CodeInvalidRequest, "The file is larger than 1 MiB.")
	case len(data) == 0:
		return "", missingFile()
	}
	return lines(string(data)), nil
}

// lines ends lines as one character, as a text area would on the way back: the
// lines are counted alike at both steps.
func lines(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
}

func missingFile() error {
	return tenancy.Faults{{Pointer: "/file", Code: faultRequired, Detail: "Choose a CSV file."}}.Err()
}

func (s *server) batchFaults(c *gin.Context, page console.NewBatchPage, err error) error {
	faults, err := pageFaults(err)
	if err != nil {
		return err
	}
	page.Faults = faults
	return s.render(c, outcomes[faults.Code].status, page, "")
}

// batchPage serves the page of GET /platform/tenant-batches/{batchId}.
func (s *server) batchPage(c *gin.Context) error {
	id, err := batchIDOf(c)
	if err != nil {
		return err
	}
	page := console.BatchPage{Frame: s.frame(c, "Bulk", "Batch"), Only: c.Query("only")}
	page.Here = withoutJob(page.Here)
	if page.Batch, err = s.Batches.Batch(c.Request.Context(), id); err != nil {
		return err
	}
	for _, r := range page.Batch.Rows {
		if page.Only == "" || string(r.Status) == page.Only {
			page.Rows = append(page.Rows, r)
		}
	}
	return s.render(c, http.StatusOK, page, "list")
}

func (s *server) retryBatchFromPage(c *gin.Context) error {
	b, err := s.retryFailed(c)
	if err != nil {
		return err
	}
	notice := console.NoticeSomeJobsRetried
	if b.FinishedAt != nil {
		notice = console.NoticeNoJobsRetried
	}
	return redirectWith(c, "/platform/tenant-batches/"+b.ID.String(), notice)
}
