package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) listUsers() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list-users",
		Short: "List the platform users",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withControl(cmd, func(ctx context.Context, control *app.Control) error {
				users, err := control.Store.ListUsers(ctx)
				if err != nil {
					return err
				}
				return c.printUsers(users)
			})
		},
	}
	c.configFlags(cmd, "DATABASE_URL")
	return cmd
}

type userView struct {
	PlatformUserID tenancy.UserID `json:"platformUserId"`
	Email          string         `json:"email"`
	DisplayName    string         `json:"displayName"`
	Role           tenancy.Role   `json:"role"`
	IsActive       bool           `json:"isActive"`
	SecondFactor   bool           `json:"secondFactor"`
}

func showUser(u tenancy.User) userView {
	return userView{u.ID, u.Email, u.DisplayName, u.Role, u.IsActive, u.SecondFactor}
}

func (c *cli) printUsers(users []tenancy.User) error {
	views := make([]userView, len(users))
	rows := make([][]string, len(users))
	for i, u := range users {
		views[i] = showUser(u)
		rows[i] = []string{u.Email, u.DisplayName, string(u.Role), strconv.FormatBool(u.IsActive), strconv.FormatBool(u.SecondFactor)}
	}
	return c.print(map[string]any{"items": views}, []string{"EMAIL", "NAME", "ROLE", "ACTIVE", "SECOND FACTOR"}, rows)
}
