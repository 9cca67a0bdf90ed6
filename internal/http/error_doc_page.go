package http

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/http/console"
)

// errorDocPage serves the page of GET /docs/errors/{code}. Strangers may read it;
// who is signed in keeps the menu.
func (s *server) errorDocPage(c *gin.Context) error {
	code, err := codeOf(c)
	if err != nil {
		return err
	}
	if s.sessionToken(c) != "" {
		if p, err := s.identify(c); err == nil {
			exchangeOf(c).principal = p
		}
	}
	text, err := console.ErrorDoc(code)
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, console.ErrorDocPage{Frame: s.frame(c, "", string(code)), Text: text}, "")
}
