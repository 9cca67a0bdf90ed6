package http

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const jobRoute = "/platform/jobs/:jobId"

// shownJobs is how many jobs' answers are kept, at about 3 kB each.
const shownJobs = 1000

// shownJob is the answer that shows a version of a job, the same to all who may see
// it.
type shownJob struct {
	tenancy.JobVersion
	body []byte
}

func newShownJobs() *lru.Cache[tenancy.JobID, shownJob] {
	cache, err := lru.New[tenancy.JobID, shownJob](shownJobs)
	if err != nil {
		panic(err) // the size is not positive
	}
	return cache
}

// getJob serves GET /platform/jobs/{jobId}, which watchers poll: a job that has not
// changed since the caller's last look costs no body, one that has not since
// anybody's is not read again. A failed job is an answer like any other.
func (s *server) getJob(c *gin.Context) error {
	id, err := jobIDOf(c)
	if err != nil {
		return err
	}
	now := exchangeOf(c).watched
	if now == nil {
		v, err := s.Jobs.JobVersion(c.Request.Context(), id)
		if err != nil {
			return err
		}
		now = &v
	}
	if unchanged(c, now.Version, now.Settled) {
		return nil
	}
	shown, ok := s.shown.Get(id)
	if !ok || shown.JobVersion != *now {
		job, err := s.Jobs.Job(c.Request.Context(), id)
		if err != nil {
			return err
		}
		shown.JobVersion = tenancy.JobVersion{Version: job.Version, Settled: job.Status.Settled()}
		if shown.body, err = json.Marshal(s.showJob(job)); err != nil {
			return tenancy.Wrap(tenancy.CodeInternal, err, "cannot encode the answer")
		}
		s.shown.Add(id, shown)
		unchanged(c, shown.Version, shown.Settled) // for the headers
	}
	c.Data(http.StatusOK, "application/json", shown.body)
	return nil
}

// watchedJob is the job that a request polls, "" if it is none of that kind.
func watchedJob(c *gin.Context) tenancy.JobID {
	if c.FullPath() != jobRoute || wantsPage(c) {
		return ""
	}
	id, _ := jobIDOf(c)
	return id
}

// unchanged sets the headers of what is polled and, if the caller has this version
// already, answers so.
func unchanged(c *gin.Context, version int64, settled bool) bool {
	etag := `"` + strconv.FormatInt(version, 10) + `"`
	c.Header("ETag", etag)
	c.Header("Cache-Control", "private, no-cache")
	c.Header("Vary", "Accept") // a browser gets the page
	if settled {
		c.Writer.Header().Del("Retry-After") // of an earlier look
	} else {
		c.Header("Retry-After", "2")
	}
	if !matches(c.Request.Header.Values("If-None-Match"), etag) {
		return false
	}
	c.Status(http.StatusNotModified)
	return true
}

// matches reports whether If-None-Match names the etag, compared weakly.
func matches(headers []string, etag string) bool {
	for _, header := range headers {
		for candidate := range strings.SplitSeq(header, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == etag {
				return true
			}
		}
	}
	return false
}
