package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) updateUser() *cobra.Command {
	var email, displayName, role string
	var active, forget, newPassword bool
	cmd := &cobra.Command{
		Use:   "update-user",
		Short: "Change a platform user: role, password, second factor, disable",
		Long: `Change a platform user. Another role, disabling, a new password and removing the
second factor end the user's sessions at once. API tokens of a disabled user work
no more.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			change := tenancy.UserChange{ForgetSecondFactor: forget}
			if cmd.Flags().Changed("display-name") {
				var f tenancy.Faults
				displayName = f.Text("--display-name", displayName, tenancy.MaxDisplayName)
				if err := f.Err(); err != nil {
					return err
				}
				change.DisplayName = &displayName
			}
			if cmd.Flags().Changed("role") {
				r := tenancy.Role(role)
				if !r.Valid() {
					return usageError{fmt.Errorf("--role must be %s, %s or %s", tenancy.RoleAdmin, tenancy.RoleSupport, tenancy.RoleReadOnly)}
				}
				change.Role = &r
			}
			if cmd.Flags().Changed("active") {
				change.IsActive = &active
			}
			if change == (tenancy.UserChange{}) && !newPassword {
				return errNoChange
			}
			return c.withControl(cmd, func(ctx context.Context, control *app.Control) error {
				u, err := control.Store.UserByEmail(ctx, email)
				if err != nil {
					return err
				}
				if change != (tenancy.UserChange{}) {
					if u, err = control.Store.UpdateUser(ctx, email, change, osActor()); err != nil {
						return err
					}
				}
				if !newPassword {
					return c.printUsers([]tenancy.User{u})
				}
				password := auth.NewPassword()
				hash, err := auth.HashPassword(password)
				if err != nil {
					return err
				}
				if err := control.Store.SetPassword(ctx, u.ID, hash, "", osActor()); err != nil {
					return err
				}
				fmt.Fprintln(c.stderr, "The password is shown this once; hand it over safely.")
				return c.print(map[string]any{"items": []userView{showUser(u)}, "password": password},
					[]string{"EMAIL", "ROLE", "PASSWORD"}, [][]string{{u.Email, string(u.Role), password}})
			})
		},
	}
	c.configFlags(cmd, "DATABASE_URL")
	cmd.Flags().StringVar(&email, "email", "", "the user to change")
	cmd.Flags().StringVar(&displayName, "display-name", "", "the user's name")
	cmd.Flags().StringVar(&role, "role", "", "the user's role")
	cmd.Flags().BoolVar(&active, "active", true, "whether the user may sign in")
	cmd.Flags().BoolVar(&forget, "remove-second-factor", false, "take the second factor and its recovery codes away")
	cmd.Flags().BoolVar(&newPassword, "new-password", false, "generate a password, shown once")
	_ = cmd.MarkFlagRequired("email")
	return cmd
}
