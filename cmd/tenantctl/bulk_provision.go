package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// bulkPoll is the shortest pause between two looks at the batches.
const bulkPoll = 100 * time.Millisecond

func (c *cli) bulkProvision() *cobra.Command {
	var api, tokenFile, result string
	var patience time.Duration
	var o bulkOptions
	cmd := &cobra.Command{
		Use:   "bulk-provision FILE",
		Short: "Provision the tenants of a CSV file through the API",
		Long: `Provision the tenants of a CSV file through the API, and wait until every row is
done. The file is UTF-8 and has a header with the columns slug, displayName,
adminEmail and, if wanted, dbServer, in any order; FILE - is stdin. It may have
any length: it is sent in batches of up to 1,000 rows. A bad row stops no other.

stdout has the rows that did not complete, with their lines in FILE, and the
counts; the result file has every row. Exit code 1 means that there is a row that
was not provisioned.

Run it again with the same FILE and options after an interruption: it finds the
batches it sent before, starts nothing twice, and goes on waiting. A FILE with
other content is another request: its rows that exist already are told as
E_ALREADY_PROVISIONED.

The token is a PLATFORM_ADMIN's. It is sent over https, or to this machine.`,
		Example: `  tenantctl bulk-provision tenants.csv --validate --api https://console.example.com --token-file token
  tenantctl bulk-provision tenants.csv --api https://console.example.com --token-file token`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if patience < 0 {
				return usageError{errors.New("--patience must not be negative")}
			}
			show := newBulkProgress(c.stderr, o)
			client, err := newAPIClient(api, tokenFile, patience, show.say)
			if err != nil {
				return err
			}
			defer client.http.CloseIdleConnections()
			if result, err = resultFile(args[0], result, cmd.Flags().Changed("result"), o.ValidateOnly); err != nil {
				return err
			}
			f, err := readBulkFile(args[0], cmd.InOrStdin(), o)
			if err != nil {
				return err
			}
			run := &bulkRun{cli: c, client: client, file: f, options: o, show: show}
			show.start(len(f.rows))
			if err := run.run(cmd.Context()); err != nil {
				return run.unfinished(cmd.Context(), err)
			}
			return run.report(result)
		},
	}
	cmd.Flags().StringVar(&api, "api", "", "the API's address, such as https://console.example.com")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "the file that has the API token")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "have the jobs check placement and state, and make nothing")
	cmd.Flags().BoolVar(&o.ValidateOnly, "validate", false, "only say what the API would do with each row; nothing is recorded")
	cmd.Flags().StringVar(&result, "result", "", "where to write what became of every row, as CSV (default FILE.result.csv; for stdin and --validate none)")
	cmd.Flags().DurationVar(&patience, "patience", 5*time.Minute, "how long to go on while the API does not answer")
	for _, name := range []string{"api", "token-file"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

// resultFile is where the result goes, "" for nowhere. It never is the file itself.
func resultFile(file, result string, given, validateOnly bool) (string, error) {
	if !given {
		// What is only validated must not take the place of a real run's result.
		if file == "-" || validateOnly {
			return "", nil
		}
		return file + ".result.csv", nil
	}
	if result == "" {
		return "", nil
	}
	if info, err := os.Stat(filepath.Dir(result)); err != nil || !info.IsDir() {
		return "", usageError{errors.New("--result is in no directory that exists")}
	}
	in, err := os.Stat(file)
	if out, missing := os.Stat(result); err == nil && missing == nil && os.SameFile(in, out) {
		return "", usageError{errors.New("--result must not be FILE itself")}
	}
	return result, nil
}

// bulkRun is one run of the command.
type bulkRun struct {
	*cli
	client   *apiClient
	file     *bulkFile
	options  bulkOptions
	show     *bulkProgress
	sent     int
	warnings []string
}

// run sends every chunk and waits until all batches are complete.
func (r *bulkRun) run(ctx context.Context) error {
	defer r.show.close()
	for _, c := range r.file.chunks {
		if err := r.send(ctx, c); err != nil {
			return err
		}
		r.sent++
		r.show.update(r.file.counts())
	}
	if r.options.ValidateOnly {
		return r.capacity(ctx)
	}
	for {
		pause, running, err := r.look(ctx)
		if err != nil || !running {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(pause, bulkPoll)):
		}
	}
}

func (r *bulkRun) send(ctx context.Context, c *chunk) error {
	header := map[string]string{"Content-Type": "application/json"}
	if !r.options.ValidateOnly {
		header["Idempotency-Key"] = c.key
	}
	if _, _, err := r.client.call(ctx, http.MethodPost, "/platform/tenant-batches", header, c.body, &c.batch); err != nil {
		return err
	}
	r.file.take(c)
	return nil
}

// look asks for every batch that is not complete, and says when to look again.
func (r *bulkRun) look(ctx context.Context) (pause time.Duration, running bool, err error) {
	for _, c := range r.file.chunks {
		if c.batch.complete() {
			continue
		}
		header := map[string]string{}
		if c.etag != "" {
			header["If-None-Match"] = c.etag
		}
		var b batchAnswer
		h, unchanged, err := r.client.call(ctx, http.MethodGet, "/platform/tenant-batches/"+c.batch.BatchID, header, nil, &b)
		if err != nil {
			return 0, true, err
		}
		if !unchanged {
			c.batch, c.etag = b, h.Get("ETag")
			r.file.take(c)
		}
		running = running || !c.batch.complete()
		pause = max(pause, time.Duration(c.batch.PollAfterMs)*time.Millisecond)
	}
	r.show.update(r.file.counts())
	return pause, running, nil
}

// capacity finds the warnings: the API's own or, as it sees one chunk at a time,
// those of several chunks together.
func (r *bulkRun) capacity(ctx context.Context) error {
	if len(r.file.chunks) == 1 {
		r.warnings = r.file.chunks[0].batch.Warnings
	}
	if len(r.file.chunks) < 2 {
		return nil
	}
	var listed struct{ Items []tenancy.ServerLoad }
	if _, _, err := r.client.call(ctx, http.MethodGet, "/platform/db-servers", nil, nil, &listed); err != nil {
		return err
	}
	var wanted []string
	for i, result := range r.file.results {
		if result.Status == tenancy.RowValid {
			wanted = append(wanted, r.file.rows[i].ServerName)
		}
	}
	r.warnings = tenancy.CapacityWarnings(wanted, listed.Items)
	return nil
}

// unfinished says how to go on after what stopped the run.
func (r *bulkRun) unfinished(ctx context.Context, err error) error {
	if ctx.Err() == nil && !tenancy.IsTransient(err) {
		return err
	}
	if !r.options.ValidateOnly {
		fmt.Fprintf(r.stderr, "%d of %d batches are sent, and what is sent goes on by itself. "+
			"To send the rest and wait for all, run the same command with the same file again; nothing is started twice.\n", r.sent, len(r.file.chunks))
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// report writes the result file and prints what did not complete.
func (r *bulkRun) report(result string) error {
	if result != "" {
		if err := writeResult(result, r.file.results); err != nil {
			return fmt.Errorf("cannot write the result: %w", err)
		}
		fmt.Fprintf(r.stderr, "What became of every row is in %s.\n", result)
	}
	for _, w := range r.warnings {
		fmt.Fprintln(r.stderr, "warning:", w)
	}
	if err := r.printBulk(); err != nil {
		return err
	}
	for _, c := range r.file.chunks {
		for _, row := range c.batch.Rows {
			if row.Status == "failed" {
				fmt.Fprintf(r.stderr, "Once the cause is mended, POST /platform/tenant-batches/%s/retry tries its failed rows again.\n", c.batch.BatchID)
				break
			}
		}
	}
	if len(r.file.off()) > 0 {
		return errSomethingOff
	}
	return nil
}

func (r *bulkRun) printBulk() error {
	off, n := r.file.off(), r.file.counts()
	if r.format == "json" {
		ids := []string{}
		for _, c := range r.file.chunks {
			if c.batch.BatchID != "" {
				ids = append(ids, c.batch.BatchID)
			}
		}
		counts := map[string]int{"total": n.Total, "rejected": n.Rejected, "complete": n.Complete, "failed": n.Failed, "cancelled": n.Cancelled}
		if r.options.ValidateOnly {
			counts = map[string]int{"total": n.Total, "rejected": n.Rejected, "valid": n.Complete}
		}
		rows := make([]any, len(off))
		for i, row := range off {
			rows[i] = bulkRowView(row)
		}
		return r.printJSON(map[string]any{
			"dryRun": r.options.DryRun, "validateOnly": r.options.ValidateOnly, "batchIds": ids, "counts": counts, "rows": rows,
			"warnings": append([]string{}, r.warnings...),
		})
	}
	if len(off) > 0 {
		rows := make([][]string, len(off))
		for i, row := range off {
			code, message := whyOf(row)
			rows[i] = []string{fmt.Sprint(row.Line), orDash(oneLine(row.Slug)), string(row.Status), orDash(string(row.JobID)), orDash(code), oneLine(message)}
		}
		if err := r.print(nil, []string{"LINE", "SLUG", "STATUS", "JOB", "CODE", "MESSAGE"}, rows); err != nil {
			return err
		}
		fmt.Fprintln(r.stdout)
	}
	_, err := fmt.Fprintf(r.stdout, "%d rows: %s\n", n.Total, summary(n, r.options))
	return err
}

func bulkRowView(row tenancy.BatchRow) any {
	view := map[string]any{"line": row.Line, "slug": row.Slug, "status": row.Status, "jobId": nil, "error": nil}
	if row.JobID != "" {
		view["jobId"] = row.JobID
	}
	if row.Error != nil {
		view["error"] = map[string]any{"code": row.Error.Code, "message": row.Error.Message}
	}
	return view
}
