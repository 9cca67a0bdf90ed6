package emulator

import (
	"net/http"
	"regexp"
	"strings"
	"time"
)

// operation does the work of a request whose client is authorised. A nil body
// answers 204.
type operation func(r *http.Request) (body any, err error)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	on := func(pattern string, kind OpKind, do operation) {
		mux.HandleFunc(pattern, s.serve(kind, do))
	}
	on("PUT /secrets/{name}", OpSet, s.setSecret)
	on("GET /secrets/{name}", OpGet, s.getSecret)
	on("GET /secrets/{name}/{$}", OpGet, s.getSecret) // as azsecrets asks for the latest
	on("GET /secrets/{name}/{version}", OpGet, s.getSecret)
	on("GET /secrets/{name}/versions", OpListVersions, s.listVersions)
	on("PATCH /secrets/{name}/{$}", OpUpdate, s.updateSecret)
	on("PATCH /secrets/{name}/{version}", OpUpdate, s.updateSecret)
	on("DELETE /secrets/{name}", OpDelete, s.deleteSecret)
	on("GET /secrets", OpList, s.listSecrets)
	on("GET /deletedsecrets", OpListDeleted, s.listDeleted)
	on("GET /deletedsecrets/{name}", OpGetDeleted, s.getDeletedSecret)
	on("POST /deletedsecrets/{name}/recover", OpRecover, s.recoverSecret)
	on("DELETE /deletedsecrets/{name}", OpPurge, s.purgeSecret)

	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &vaultError{status: http.StatusNotFound, code: "NotFound", message: "The emulator has no such operation."})
	})
	return mux
}

// serve is what every operation has in common, in Key Vault's order: the
// challenge, the version of the interface, the name.
func (s *Server) serve(kind OpKind, do operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !ok || token == "" {
			challenge(w, r)
			return
		}
		fault := s.faults.next(kind, name)
		began := time.Now()
		defer func() {
			s.log.DebugContext(r.Context(), "vault operation", "op", string(kind), "secret", name, "took", time.Since(began))
		}()
		if s.suffer(w, r, fault) {
			return
		}
		body, err := s.checked(r, name, do)
		if fault != nil && fault.DropReply {
			panic(http.ErrAbortHandler)
		}
		switch {
		case err != nil:
			s.log.DebugContext(r.Context(), "vault operation refused", "op", string(kind), "secret", name, "error", err)
			writeError(w, err)
		case body == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			writeJSON(w, http.StatusOK, body)
		}
	}
}

var (
	secretName = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
	apiVersion = regexp.MustCompile(`^(7\.\d+|20\d\d-\d\d-\d\d)(-preview(\.\d+)?)?$`)
)

func (s *Server) checked(r *http.Request, name string, do operation) (any, error) {
	asked := r.URL.Query().Get("api-version")
	switch {
	case asked == "":
		return nil, badParameter("api-version must be specified")
	case !apiVersion.MatchString(asked):
		return nil, badParameter("The specified version (%s) is not recognized. Consider using the latest supported version (2026-04-01).", asked)
	case r.PathValue("name") != "" && !secretName.MatchString(name):
		return nil, badParameter("The request URI contains an invalid name: %s", name)
	}
	return do(r)
}

// challenge asks for a token as Key Vault does. The authorization URL needs a
// path, the directory's id, or azsecrets panics. The resource is the vault's
// parent domain, which azsecrets checks; a host without one gets Key Vault's.
func challenge(w http.ResponseWriter, r *http.Request) {
	resource := "vault.azure.net"
	if _, parent, ok := strings.Cut(r.Host, "."); ok {
		resource = parent
	}
	w.Header().Set("WWW-Authenticate", `Bearer authorization="https://`+r.Host+
		`/00000000-0000-0000-0000-000000000000", resource="https://`+resource+`"`)
	writeError(w, &vaultError{
		status: http.StatusUnauthorized, code: "Unauthorized",
		message: "AKV10000: Request is missing a Bearer or PoP token.",
	})
}
