package main

import (
	"fmt"
	"strconv"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/tenancy"
)

var serverHeader = []string{"NAME", "ACTIVE", "TENANTS", "RESERVED", "CAPACITY", "HEADROOM", "HOST", "PORT", "REGION", "ADMIN SECRET"}

func serverRow(l tenancy.ServerLoad) []string {
	limit := func(n *int) string {
		if n == nil {
			return "unlimited"
		}
		return strconv.Itoa(*n)
	}
	return []string{
		l.Name, fmt.Sprint(l.IsActive), strconv.Itoa(l.TenantCount), strconv.Itoa(l.Reserved),
		limit(l.CapacityHint), limit(l.Headroom()), l.Host, strconv.Itoa(l.Port), orDash(l.Region), l.AdminSecretRef,
	}
}

func (c *cli) printServer(l tenancy.ServerLoad) error {
	return c.print(app.ServerView(l), serverHeader, [][]string{serverRow(l)})
}
