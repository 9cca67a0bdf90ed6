package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) createAPIToken() *cobra.Command {
	var email, name string
	var expiresIn time.Duration
	cmd := &cobra.Command{
		Use:   "create-api-token",
		Short: "Create an API token with the role of its owner, shown once",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if expiresIn < 0 {
				return usageError{fmt.Errorf("--expires-in must not be negative")}
			}
			var f tenancy.Faults
			name = f.Text("--name", name, tenancy.MaxTokenName)
			if err := f.Err(); err != nil {
				return err
			}
			return c.withControl(cmd, func(ctx context.Context, control *app.Control) error {
				owner, err := control.Store.UserByEmail(ctx, email)
				if err != nil {
					return err
				}
				var expiresAt *time.Time
				expiry := "never"
				if expiresIn > 0 {
					at := time.Now().Add(expiresIn).UTC()
					expiresAt, expiry = &at, at.Format(time.RFC3339)
				}
				described, token, err := control.Tokens.Create(ctx, owner.ID, name, expiresAt, osActor())
				if err != nil {
					return err
				}
				fmt.Fprintln(c.stderr, "The token is shown this once; keep it like a password.")
				return c.print(map[string]any{
					"tokenId": described.ID, "name": name, "owner": owner.Email, "role": owner.Role, "expiresAt": expiresAt, "token": token,
				}, []string{"NAME", "OWNER", "ROLE", "EXPIRES", "TOKEN"},
					[][]string{{name, owner.Email, string(owner.Role), expiry, token}})
			})
		},
	}
	c.configFlags(cmd, "DATABASE_URL")
	cmd.Flags().StringVar(&email, "email", "", "the owner's e-mail address")
	cmd.Flags().StringVar(&name, "name", "", "what the token is for")
	cmd.Flags().DurationVar(&expiresIn, "expires-in", 0, "how long the token is valid, such as 720h; 0 means that it does not expire")
	_ = cmd.MarkFlagRequired("email")
	_ = cmd.MarkFlagRequired("name")
	return cmd
}
