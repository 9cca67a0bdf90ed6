package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/store"
)

// maxFaults is how many faults of the audit trail are listed: one is enough to
// look into, and one changed row may break a link or two.
const maxFaults = 100

func (c *cli) verifyAudit() *cobra.Command {
	var anchor string
	cmd := &cobra.Command{
		Use:   "verify-audit",
		Short: "Check that nobody changed, removed or inserted an audit row",
		Long: `Check that nobody changed, removed or inserted an audit row. Each row carries a hash
over itself and the row before. Whoever holds the database could compute the whole
chain anew; to rule that out, note the head that this command prints somewhere else
from time to time, and give it as --anchor later: it must still be in the chain.

Exits with 1 if something is off.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withControl(cmd, func(ctx context.Context, control *app.Control) error {
				rows, head, faults, err := control.Store.VerifyAudit(ctx, anchor, maxFaults)
				if err != nil {
					return err
				}
				lines := make([][]string, len(faults))
				for i, f := range faults {
					lines[i] = []string{strconv.FormatInt(f.ID, 10), f.What}
				}
				if err := c.printAudit(rows, head, faults, lines); err != nil {
					return err
				}
				if len(faults) > 0 {
					return errSomethingOff
				}
				return nil
			})
		},
	}
	c.configFlags(cmd, "DATABASE_URL")
	cmd.Flags().StringVar(&anchor, "anchor", "", "a head noted earlier, which must be in the chain")
	return cmd
}

func (c *cli) printAudit(rows int64, head string, faults []store.AuditFault, lines [][]string) error {
	if c.format == "json" {
		return c.printJSON(map[string]any{"rows": rows, "head": head, "faults": append([]store.AuditFault{}, faults...)})
	}
	if len(faults) > 0 {
		return c.print(nil, []string{"AUDIT ROW", "FAULT"}, lines)
	}
	_, err := fmt.Fprintf(c.stdout, "%d audit rows, unbroken. Head: %s\n", rows, head)
	return err
}
