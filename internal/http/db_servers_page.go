package http

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
)

const serversPath = "/platform/db-servers"

// serversPage serves the page of GET /platform/db-servers.
func (s *server) serversPage(c *gin.Context) error {
	loads, err := s.Servers.ListServers(c.Request.Context())
	if err != nil {
		return err
	}
	page := console.ServersPage{Frame: s.frame(c, "Servers", "Database servers")}
	for _, l := range loads {
		page.Servers = append(page.Servers, console.ServerRow{ServerLoad: l})
	}
	return s.render(c, http.StatusOK, page, "")
}

// newServerPage serves GET /platform/db-servers/new.
func (s *server) newServerPage(c *gin.Context) error {
	return s.renderNewServer(c, http.StatusOK, console.ServerForm{Port: "5432"}, nil)
}

func (s *server) renderNewServer(c *gin.Context, status int, typed console.ServerForm, faults *console.Faults) error {
	return s.render(c, status, console.NewServerPage{
		Frame: s.frame(c, "Servers", "New database server"), Form: typed, Faults: faults,
	}, "")
}

// addServerFromPage serves the form of that page.
func (s *server) addServerFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	typed := serverForm(values)
	req := serverRequest{
		Name: some(typed.Name), Host: some(typed.Host), Port: some(typedNumber(typed.Port)), Region: some(typed.Region),
		AdminSecretRef: some(typed.AdminSecretRef),
	}
	if typed.CapacityHint != "" {
		req.CapacityHint = some(typedNumber(typed.CapacityHint))
	}
	load, err := s.registerServer(c, req)
	if err != nil {
		faults, err := pageFaults(err)
		if err != nil {
			return err
		}
		return s.renderNewServer(c, outcomes[faults.Code].status, typed, faults)
	}
	return redirectWith(c, serverPath(load.Name), console.NoticeServerAdded)
}

func serverForm(values url.Values) console.ServerForm {
	field := func(name string) string { return strings.TrimSpace(values.Get(name)) }
	return console.ServerForm{
		Name: field("name"), Host: field("host"), Port: field("port"), Region: field("region"),
		AdminSecretRef: field("adminSecretRef"), CapacityHint: field("capacityHint"), Unlimited: field("unlimited") != "",
	}
}

// some is an optional that is there.
func some[T any](v T) optional[T] { return optional[T]{Set: true, Value: v} }

// typedNumber is what was typed, -1 if it is no number: no field takes that.
func typedNumber(v string) int {
	n, err := strconv.Atoi(strings.TrimSpace(v))
	if err != nil {
		return -1
	}
	return n
}

func serverPath(name string) string { return serversPath + "/" + url.PathEscape(name) }

// serverPage serves the page of GET /platform/db-servers/{name}.
func (s *server) serverPage(c *gin.Context) error { return s.renderServer(c, http.StatusOK, nil, nil) }

// renderServer shows a server; typed is nil unless its form was refused.
func (s *server) renderServer(c *gin.Context, status int, typed *console.ServerForm, faults *console.Faults) error {
	name, err := serverNameOf(c)
	if err != nil {
		return err
	}
	load, err := s.Servers.Server(c.Request.Context(), name)
	if err != nil {
		return err
	}
	page := console.ServerPage{Frame: s.frame(c, "Servers", name), Server: console.ServerRow{ServerLoad: load}, Faults: faults}
	switch {
	case typed != nil:
		page.Form = *typed
	case load.CapacityHint == nil:
		page.Form.Unlimited = true
	default:
		page.Form.CapacityHint = strconv.Itoa(*load.CapacityHint)
	}
	return s.render(c, status, page, "")
}

// changeServerFromPage serves both forms of the page: the one of the cap and the
// one that takes the server in or out of placement.
func (s *server) changeServerFromPage(c *gin.Context) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	typed := serverForm(values)
	var req serverRequest
	switch active := values.Get("isActive"); {
	case active == "true" || active == "false":
		req.IsActive = some(active == "true")
	case typed.Unlimited:
		req.CapacityHint = optional[int]{Set: true, Null: true}
	default:
		req.CapacityHint = some(typedNumber(typed.CapacityHint))
	}
	load, err := s.updateServer(c, req)
	if err != nil {
		faults, err := pageFaults(err)
		if err != nil {
			return err
		}
		if req.IsActive.Set { // that form has nothing typed
			return s.renderServer(c, outcomes[faults.Code].status, nil, faults)
		}
		return s.renderServer(c, outcomes[faults.Code].status, &typed, faults)
	}
	return redirectWith(c, serverPath(load.Name), console.NoticeServerChanged)
}
