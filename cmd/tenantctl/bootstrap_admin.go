package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) bootstrapAdmin() *cobra.Command {
	var email, displayName, role string
	cmd := &cobra.Command{
		Use:   "bootstrap-admin",
		Short: "Create a platform user with a generated password, shown once",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var f tenancy.Faults
			f.Email("--email", email)
			displayName = f.Text("--display-name", displayName, tenancy.MaxDisplayName)
			if err := f.Err(); err != nil {
				return err
			}
			if !tenancy.Role(role).Valid() {
				return usageError{fmt.Errorf("--role must be %s, %s or %s", tenancy.RoleAdmin, tenancy.RoleSupport, tenancy.RoleReadOnly)}
			}
			return c.withControl(cmd, func(ctx context.Context, control *app.Control) error {
				password := auth.NewPassword()
				hash, err := auth.HashPassword(password)
				if err != nil {
					return err
				}
				u, err := control.Store.CreateUser(ctx, tenancy.User{
					Email: email, DisplayName: displayName, Role: tenancy.Role(role),
				}, hash, tenancy.EventBootstrapUserCreated, osActor())
				if err != nil {
					return err
				}
				fmt.Fprintln(c.stderr, "The password is shown this once; hand it over safely.")
				return c.print(map[string]any{"platformUserId": u.ID, "email": u.Email, "role": u.Role, "password": password},
					[]string{"EMAIL", "ROLE", "PASSWORD"}, [][]string{{u.Email, string(u.Role), password}})
			})
		},
	}
	c.configFlags(cmd, "DATABASE_URL")
	cmd.Flags().StringVar(&email, "email", "", "the user's e-mail address")
	cmd.Flags().StringVar(&displayName, "display-name", "Platform Admin", "the user's name")
	cmd.Flags().StringVar(&role, "role", string(tenancy.RoleAdmin), "the user's role")
	_ = cmd.MarkFlagRequired("email")
	return cmd
}
