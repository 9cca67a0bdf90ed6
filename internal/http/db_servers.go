package http

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Servers is the registry of database servers.
type Servers interface {
	ListServers(ctx context.Context) ([]tenancy.ServerLoad, error)
	// Server fails with CodeNotFound.
	Server(ctx context.Context, name string) (tenancy.ServerLoad, error)
	// AddServer fails with CodeConflict.
	AddServer(ctx context.Context, srv tenancy.DBServer, actor tenancy.Actor) (tenancy.ServerLoad, error)
	// UpdateServer fails with CodeNotFound.
	UpdateServer(ctx context.Context, name string, c tenancy.ServerChange, actor tenancy.Actor) (tenancy.ServerLoad, error)
}

type serverJSON struct {
	Name           string `json:"name"`
	Host           string `json:"host"`
	Port           int    `json:"port"`
	Region         string `json:"region"`
	AdminSecretRef string `json:"adminSecretRef"`
	// CapacityHint and Headroom are null without limit.
	CapacityHint *int `json:"capacityHint"`
	IsActive     bool `json:"isActive"`
	TenantCount  int  `json:"tenantCount"`
	Reserved     int  `json:"reserved"`
	Headroom     *int `json:"headroom"`
}

func showServer(l tenancy.ServerLoad) serverJSON {
	return serverJSON{
		Name: l.Name, Host: l.Host, Port: l.Port, Region: l.Region, AdminSecretRef: l.AdminSecretRef,
		CapacityHint: l.CapacityHint, IsActive: l.IsActive,
		TenantCount: l.TenantCount, Reserved: l.Reserved, Headroom: l.Headroom(),
	}
}

// listServers serves GET /platform/db-servers: all of them, there are few.
func (s *server) listServers(c *gin.Context) error {
	servers, err := s.Servers.ListServers(c.Request.Context())
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, newList(servers, "", showServer))
}

// getServer serves GET /platform/db-servers/{name}.
func (s *server) getServer(c *gin.Context) error {
	name, err := serverNameOf(c)
	if err != nil {
		return err
	}
	load, err := s.Servers.Server(c.Request.Context(), name)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, showServer(load))
}

// serverNameOf returns the name in the path, CodeNotFound if no server can have
// it.
func serverNameOf(c *gin.Context) (string, error) {
	name := c.Param("name")
	if !tenancy.ValidServerName(name) {
		return "", tenancy.Errorf(tenancy.CodeNotFound, "No database server can have this name.")
	}
	return name, nil
}

// serverRequest is what a server is added with, or what is changed of it.
type serverRequest struct {
	Name           optional[string] `json:"name"` // only when added
	Host           optional[string] `json:"host"`
	Port           optional[int]    `json:"port"`
	Region         optional[string] `json:"region"`
	AdminSecretRef optional[string] `json:"adminSecretRef"`
	CapacityHint   optional[int]    `json:"capacityHint"` // null: no limit
	IsActive       optional[bool]   `json:"isActive"`
}

// check finds what is wrong with the fields that are there.
func (r *serverRequest) check(f *faults) {
	f.notNull("/host", r.Host.Null)
	f.notNull("/port", r.Port.Null)
	f.notNull("/region", r.Region.Null)
	f.notNull("/adminSecretRef", r.AdminSecretRef.Null)
	f.notNull("/isActive", r.IsActive.Null)
	if v := r.Host.pointer(); v != nil {
		f.Host("/host", *v)
	}
	if v := r.Port.pointer(); v != nil {
		f.Port("/port", *v)
	}
	r.Region.Value = f.Line("/region", r.Region.Value, tenancy.MaxRegion)
	if v := r.AdminSecretRef.pointer(); v != nil {
		f.SecretName("/adminSecretRef", *v)
	}
	if v := r.CapacityHint.pointer(); v != nil {
		f.Capacity("/capacityHint", *v)
	}
}

// addServer serves POST /platform/db-servers.
func (s *server) addServer(c *gin.Context) error {
	var req serverRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	load, err := s.registerServer(c, req)
	if err != nil {
		return err
	}
	c.Header("Location", "/platform/db-servers/"+load.Name)
	return writeJSON(c, http.StatusCreated, showServer(load))
}

func (s *server) registerServer(c *gin.Context, req serverRequest) (tenancy.ServerLoad, error) {
	var f faults
	f.NewServerName("/name", req.Name.Value)
	f.given("/host", req.Host.Set)
	f.given("/port", req.Port.Set)
	f.given("/adminSecretRef", req.AdminSecretRef.Set)
	req.check(&f)
	if err := f.Err(); err != nil {
		return tenancy.ServerLoad{}, err
	}
	return s.Servers.AddServer(c.Request.Context(), tenancy.DBServer{
		Name: req.Name.Value, Host: req.Host.Value, Port: req.Port.Value, Region: req.Region.Value,
		AdminSecretRef: req.AdminSecretRef.Value, CapacityHint: req.CapacityHint.pointer(),
		IsActive: !req.IsActive.Set || req.IsActive.Value,
	}, actor(c))
}

// changeServer serves PATCH /platform/db-servers/{name}.
func (s *server) changeServer(c *gin.Context) error {
	if _, err := serverNameOf(c); err != nil {
		return err
	}
	var req serverRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	load, err := s.updateServer(c, req)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, showServer(load))
}

func (s *server) updateServer(c *gin.Context, req serverRequest) (tenancy.ServerLoad, error) {
	name, err := serverNameOf(c)
	if err != nil {
		return tenancy.ServerLoad{}, err
	}
	var f faults
	if req == (serverRequest{}) {
		f.Add("", faultRequired, "There is nothing to change.")
	}
	if req.Name.Set {
		f.Add("/name", faultInvalid, "A server's name never changes.")
	}
	req.check(&f)
	if err := f.Err(); err != nil {
		return tenancy.ServerLoad{}, err
	}
	return s.Servers.UpdateServer(c.Request.Context(), name, tenancy.ServerChange{
		Host: req.Host.pointer(), Port: req.Port.pointer(), Region: req.Region.pointer(),
		AdminSecretRef: req.AdminSecretRef.pointer(), CapacityHint: req.CapacityHint.pointer(),
		Unlimited: req.CapacityHint.Null, IsActive: req.IsActive.pointer(),
	}, actor(c))
}
