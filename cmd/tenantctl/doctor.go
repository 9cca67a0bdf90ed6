package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/doctor"
)

func (c *cli) doctor() *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Compare master, every server and the vault, and name what diverges",
		Long: `Compare master, every server and the vault, and name each divergence with its cause
and the command that mends it. What jobs under way are making is not one.

--repair mends what cannot lose anything: leftovers of failed jobs, places nobody
uses, marks that are gone, databases open to all, jobs nobody works on.

Exits with 1 if something is off, and after a repair if something is left.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			control, _, err := c.vaultControl(cmd)
			if err != nil {
				return err
			}
			defer control.Close()
			d := doctor.Doctor{Registry: control.Store, Databases: control.Databases, Secrets: control.Vault}
			findings, err := d.Examine(cmd.Context())
			if err != nil {
				return err
			}
			if repair {
				d.Repair(cmd.Context(), findings)
			}
			return c.printFindings(cmd.Context(), findings)
		},
	}
	c.configFlags(cmd, vaultVariables...)
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what is safe to mend")
	return cmd
}

func (c *cli) printFindings(ctx context.Context, findings []doctor.Finding) error {
	left := 0
	for _, f := range findings {
		if !f.Repaired {
			left++
		}
	}
	if c.format == "json" {
		if err := c.printJSON(map[string]any{"healthy": left == 0, "findings": findings}); err != nil {
			return err
		}
	} else {
		c.printFindingsText(findings)
	}
	if left > 0 && ctx.Err() == nil {
		return errSomethingOff
	}
	return ctx.Err()
}

func (c *cli) printFindingsText(findings []doctor.Finding) {
	if len(findings) == 0 {
		fmt.Fprintln(c.stdout, "Healthy: master, servers and vault agree.")
		return
	}
	for _, f := range findings {
		fmt.Fprintf(c.stdout, "%s: %s\n  cause: %s\n", f.Kind, f.What, f.Cause)
		switch {
		case f.Repaired:
			fmt.Fprintln(c.stdout, "  repaired")
		case f.RepairError != "":
			fmt.Fprintf(c.stdout, "  not repaired: %s\n", f.RepairError)
		default:
			fmt.Fprintf(c.stdout, "  mend:  %s\n", f.Fix)
		}
	}
}
