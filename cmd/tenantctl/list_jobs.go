package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) listJobs() *cobra.Command {
	var f tenancy.JobFilter
	cmd := &cobra.Command{
		Use:   "list-jobs",
		Short: "List jobs, newest first",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.Status != "" && !f.Status.Valid() {
				return usageError{fmt.Errorf("--status %s is no status of a job", f.Status)}
			}
			if f.Code != "" && !slices.Contains(tenancy.Codes(), f.Code) {
				return usageError{fmt.Errorf("--error-code %s is no code of an error", f.Code)}
			}
			if err := checkList(map[string]*string{"--slug": &f.Slug}, &f.Page); err != nil {
				return err
			}
			control, cfg, err := c.control(cmd)
			if err != nil {
				return err
			}
			defer control.Close()
			jobs, next, err := control.Store.ListJobs(cmd.Context(), f)
			if err != nil {
				return err
			}
			rows := make([][]string, len(jobs))
			views := make([]any, len(jobs))
			for i, j := range jobs {
				code := ""
				if j.Error != nil {
					code = string(j.Error.Code)
				}
				rows[i] = []string{
					string(j.ID), string(j.Slug), string(j.Status), orDash(string(j.Phase)), orDash(code),
					fmt.Sprint(j.Attempt), j.RequestedBy.Name, ago(j.CreatedAt),
				}
				views[i] = app.JobView(j, cfg)
			}
			return c.printList(views, next, []string{"JOB", "SLUG", "STATUS", "PHASE", "ERROR", "ATTEMPT", "REQUESTED BY", "AGE"}, rows)
		},
	}
	c.configFlags(cmd, "DATABASE_URL", "PUBLIC_URL")
	cmd.Flags().StringVar((*string)(&f.Status), "status", "", "only jobs of this status")
	cmd.Flags().StringVar(&f.Slug, "slug", "", "only jobs of this slug")
	cmd.Flags().StringVar((*string)(&f.Code), "error-code", "", "only jobs that failed with this code")
	pageFlags(cmd, &f.Page)
	return cmd
}

func pageFlags(cmd *cobra.Command, p *tenancy.Page) {
	cmd.Flags().IntVar(&p.Limit, "limit", 50, fmt.Sprintf("how many to list, at most %d", tenancy.MaxPage))
	cmd.Flags().StringVar(&p.Cursor, "cursor", "", "go on after the page that gave this cursor")
}

// checkList checks what a list is searched by, and its page, as the API does.
func checkList(searched map[string]*string, p *tenancy.Page) error {
	var f tenancy.Faults
	for flag, value := range searched {
		*value = f.Line(flag, *value, tenancy.MaxParameter)
	}
	p.Cursor = f.Line("--cursor", p.Cursor, tenancy.MaxParameter)
	f.PageLimit("--limit", p.Limit)
	return f.Err()
}

// printList prints a page of a list, and on stderr how to get the next one.
func (c *cli) printList(views []any, next string, header []string, rows [][]string) error {
	page := map[string]any{"items": views, "nextCursor": nil}
	if next != "" {
		page["nextCursor"] = next
		if c.format != "json" {
			fmt.Fprintf(c.stderr, "There are more: --cursor %s\n", next)
		}
	}
	return c.print(page, header, rows)
}
