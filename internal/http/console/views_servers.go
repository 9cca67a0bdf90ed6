package console

// ServersPage lists the database servers.
type ServersPage struct {
	Frame
	Servers []ServerRow
}

func (ServersPage) template() string { return "db_servers" }

// ServerPage shows a database server.
type ServerPage struct {
	Frame
	Server ServerRow
	Form   ServerForm
	Faults *Faults
}

func (ServerPage) template() string { return "db_server" }

// NewServerPage adds a database server.
type NewServerPage struct {
	Frame
	Form   ServerForm
	Faults *Faults
}

func (NewServerPage) template() string { return "new_db_server" }

// ServerForm is what was typed of a database server.
type ServerForm struct {
	Name, Host, Port, Region, AdminSecretRef, CapacityHint string
	// Unlimited takes the cap away.
	Unlimited bool
}
