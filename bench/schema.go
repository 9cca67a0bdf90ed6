package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// areas are what an application of the size that is measured knows about. Each has
// three tables with four indexes each.
var areas = []string{
	"account", "address", "agreement", "appointment", "asset", "budget", "campaign", "claim", "contact",
	"contract", "customer", "delivery", "device", "document", "expense", "facility", "inspection", "invoice",
	"lead", "message", "payment", "policy", "product", "project", "purchase", "quote", "refund", "shipment",
	"stock", "subscription", "supplier", "ticket", "timesheet",
}

const areaTables = `CREATE TABLE %[1]s (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code       text NOT NULL UNIQUE CHECK (code <> ''),
    name       text NOT NULL,
    status     text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'held', 'closed')),
    amount     numeric(12, 2) NOT NULL DEFAULT 0,
    owner_id   bigint NOT NULL REFERENCES app_user,
    metadata   jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX %[1]s_status_idx ON %[1]s (status, created_at);
CREATE INDEX %[1]s_owner_id_idx ON %[1]s (owner_id);
CREATE TRIGGER %[1]s_touch BEFORE UPDATE ON %[1]s FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE %[1]s_item (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    %[1]s_id   bigint NOT NULL REFERENCES %[1]s ON DELETE CASCADE,
    position   integer NOT NULL,
    title      text NOT NULL,
    quantity   numeric(12, 3) NOT NULL DEFAULT 1 CHECK (quantity > 0),
    data       jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (%[1]s_id, position)
);
CREATE INDEX %[1]s_item_created_at_idx ON %[1]s_item (created_at);
CREATE INDEX %[1]s_item_title_idx ON %[1]s_item (lower(title));

CREATE TABLE %[1]s_event (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    %[1]s_id bigint NOT NULL REFERENCES %[1]s ON DELETE CASCADE,
    actor_id bigint REFERENCES app_user,
    kind     text NOT NULL,
    payload  jsonb NOT NULL DEFAULT '{}',
    at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX %[1]s_event_subject_idx ON %[1]s_event (%[1]s_id, at);
CREATE INDEX %[1]s_event_actor_id_idx ON %[1]s_event (actor_id);
CREATE INDEX %[1]s_event_kind_idx ON %[1]s_event (kind, at);
`

// before and after the areas' files.
var (
	firstFiles = []string{`CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
`, `CREATE TABLE app_user (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email      text NOT NULL CHECK (email <> ''),
    name       text NOT NULL,
    role       text NOT NULL CHECK (role IN ('admin', 'member')),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX app_user_email_key ON app_user (lower(email));
`}
	lastFiles = []string{
		"CREATE VIEW open_invoice AS SELECT i.*, u.email AS owner_email FROM invoice i JOIN app_user u ON u.id = i.owner_id WHERE i.status = 'open';\n",
		"ALTER TABLE customer ADD COLUMN phone text, ADD COLUMN language text NOT NULL DEFAULT 'en';\n",
		"ALTER TABLE payment ADD COLUMN invoice_id bigint REFERENCES invoice;\nCREATE INDEX payment_invoice_id_idx ON payment (invoice_id);\n",
		"CREATE VIEW ticket_load AS SELECT owner_id, count(*) AS open FROM ticket WHERE status = 'open' GROUP BY owner_id;\n",
		"CREATE TYPE priority AS ENUM ('low', 'normal', 'high');\nALTER TABLE ticket ADD COLUMN priority priority NOT NULL DEFAULT 'normal';\n",
	}
)

// writeSchema writes an application's 40 migrations into dir: 100 tables with 399
// indexes and what goes with them.
func writeSchema(dir string) error {
	files := append([]string{}, firstFiles...)
	for _, area := range areas {
		files = append(files, fmt.Sprintf(areaTables, area))
	}
	files = append(files, lastFiles...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot write the application's migrations: %w", err)
	}
	for i, sql := range files {
		name := fmt.Sprintf("%04d_application.up.sql", i+1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(sql), 0o644); err != nil {
			return fmt.Errorf("cannot write the application's migrations: %w", err)
		}
	}
	return nil
}
