package main

import (
	"fmt"
	"time"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// printJob shows one job: the API's JSON, or a short account.
func (c *cli) printJob(j tenancy.Job, cfg config.Config) error {
	if c.format == "json" {
		return c.printJSON(app.JobView(j, cfg))
	}
	server := j.ServerName
	if j.Server != nil {
		server = j.Server.Name
	}
	rows := [][]string{
		{"JOB", string(j.ID)},
		{"KIND", string(j.Kind)},
		{"SLUG", string(j.Slug)},
		{"STATUS", string(j.Status)},
		{"DRY RUN", fmt.Sprint(j.DryRun)},
		{"SERVER", orDash(server)},
		{"ATTEMPT", fmt.Sprint(j.Attempt)},
		{"REQUESTED BY", j.RequestedBy.Name},
		{"CREATED", j.CreatedAt.UTC().Format(time.RFC3339)},
	}
	if j.StartedAt != nil && j.FinishedAt != nil {
		rows = append(rows, []string{"TOOK", j.FinishedAt.Sub(*j.StartedAt).Round(time.Millisecond).String()})
	}
	if e := j.Error; e != nil {
		rows = append(rows, []string{"ERROR", string(e.Code)}, []string{"", e.Message}, []string{"IN PHASE", string(e.Phase)},
			[]string{"ROLLED BACK", fmt.Sprint(e.RolledBack)})
		for _, left := range e.Residue {
			rows = append(rows, []string{"LEFT BEHIND", left})
		}
		rows = append(rows, []string{"RUNBOOK", app.RunbookURL(cfg, e.Code)})
	}
	for _, ph := range j.Phases {
		text := string(ph.Status)
		if ph.StartedAt != nil && ph.FinishedAt != nil {
			text += " " + ph.FinishedAt.Sub(*ph.StartedAt).Round(time.Millisecond).String()
		}
		if d := details(ph.Detail); d != "" {
			text += "  " + d
		}
		rows = append(rows, []string{string(ph.Name), text})
	}
	return c.print(nil, rows[0], rows[1:])
}
