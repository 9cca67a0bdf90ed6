package main

import (
	"context"
	"fmt"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// measureProvision is a tenant, warm, cold and by shell script, and the bare copies
// on the same servers that they are compared with. No database is dropped between:
// that would measure the file system.
func measureProvision(ctx context.Context, b *bench) error {
	template, err := b.cold.template(ctx)
	if err != nil {
		return err
	}
	script, err := b.shell(ctx)
	if err != nil {
		return err
	}
	// What was built and started before is none of theirs.
	syscall.Sync()
	const fromTemplate0, fromTemplate = "bare CREATE DATABASE from template0", "bare copy of the migrated template"
	warm, cold := tenant(b.warm, "warm POST → complete"), tenant(b.cold, "cold POST → complete")
	warmEmpty, coldEmpty := clone(b.warm, fromTemplate0, "template0"), clone(b.cold, fromTemplate0, "template0")
	warmCopy, coldCopy := clone(b.warm, fromTemplate, template), clone(b.cold, fromTemplate, template)
	if err := interleave(ctx, b.rounds(25, 3), warmEmpty, warm, coldCopy, cold, script, warmCopy, coldEmpty); err != nil {
		return err
	}
	for _, l := range []struct {
		target      target
		of, against *cell
	}{
		{warmOverTemplate0, warm, warmEmpty},
		{coldOverCopy, cold, coldCopy},
		{shellOverCold, script, cold},
		{shellOverWarm, script, warm},
		{target{what: "warm POST → complete / bare copy of the migrated template"}, warm, warmCopy},
		{target{what: "cold POST → complete / bare CREATE DATABASE (template0)"}, cold, coldEmpty},
	} {
		b.add(ratio(l.target, l.of.samples, l.against.samples, "ms"))
	}
	for _, c := range []*cell{warmEmpty, coldCopy, warm, cold, script} {
		b.report.Bars = append(b.report.Bars, newBar(c, c == warm || c == cold))
	}
	return nil
}

// template is the name of the template that the plane's tenants are copies of.
func (p *plane) template(ctx context.Context) (name string, err error) {
	rows, err := p.servers[0].Query(ctx, `SELECT datname FROM pg_database WHERE starts_with(datname::text, 'tenantry_template_')`)
	if err == nil {
		name, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	}
	if err != nil {
		return "", fmt.Errorf("cannot find the migrated template: %w", err)
	}
	return name, nil
}
