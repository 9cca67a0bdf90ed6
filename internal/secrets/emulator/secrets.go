package emulator

import (
	"encoding/json"
	"errors"
	"net/http"
)

// Limits of Key Vault.
const (
	maxValueBytes = 25 * 1024
	maxBodyBytes  = 8 * maxValueBytes // a value of nothing but escapes fits
	maxTags       = 15
	maxTagBytes   = 512
)

func (s *Server) setSecret(r *http.Request) (any, error) {
	params, err := readParameters(r)
	switch {
	case err != nil:
		return nil, err
	case params.Value == nil:
		return nil, badParameter("The secret value must be specified.")
	case len(*params.Value) > maxValueBytes:
		return nil, badParameter("The secret value is longer than %d bytes.", maxValueBytes)
	}
	add := version{Value: *params.Value, Enabled: true}
	params.applyTo(&add)
	o, err := s.vault.set(r.PathValue("name"), add)
	if err != nil {
		return nil, err
	}
	b := s.vault.describe(r, o, o.latest())
	b.Value = params.Value
	return b, nil
}

func (s *Server) getSecret(r *http.Request) (any, error) {
	o, found, err := s.vault.get(r.PathValue("name"), r.PathValue("version"))
	if err != nil {
		return nil, err
	}
	b := s.vault.describe(r, o, found)
	b.Value = &found.Value
	return b, nil
}

func (s *Server) updateSecret(r *http.Request) (any, error) {
	params, err := readParameters(r)
	if err != nil {
		return nil, err
	}
	o, changed, err := s.vault.update(r.PathValue("name"), r.PathValue("version"), params.applyTo)
	if err != nil {
		return nil, err
	}
	return s.vault.describe(r, o, changed), nil
}

func (s *Server) deleteSecret(r *http.Request) (any, error) {
	o, err := s.vault.delete(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return s.vault.describeDeleted(r, o), nil
}

func (s *Server) getDeletedSecret(r *http.Request) (any, error) {
	o, err := s.vault.getDeleted(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return s.vault.describeDeleted(r, o), nil
}

func (s *Server) recoverSecret(r *http.Request) (any, error) {
	o, err := s.vault.recover(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return s.vault.describe(r, o, o.latest()), nil
}

func (s *Server) purgeSecret(r *http.Request) (any, error) {
	return nil, s.vault.purge(r.PathValue("name"))
}

func readParameters(r *http.Request) (parameters, error) {
	var p parameters
	err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBodyBytes)).Decode(&p)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return p, &vaultError{status: http.StatusRequestEntityTooLarge, code: "RequestEntityTooLarge", message: "The request is too large."}
	}
	if err != nil {
		return p, badParameter("The request body is not valid JSON of a secret.")
	}
	if len(p.Tags) > maxTags {
		return p, badParameter("A secret has at most %d tags.", maxTags)
	}
	for key, value := range p.Tags {
		if len(key) > maxTagBytes || len(value) > maxTagBytes {
			return p, badParameter("A tag's name and value have at most %d bytes each.", maxTagBytes)
		}
	}
	return p, nil
}

// applyTo changes what is given and leaves the rest; tags are replaced as a
// whole.
func (p parameters) applyTo(to *version) {
	if p.ContentType != nil {
		to.ContentType = p.ContentType
	}
	if p.Tags != nil {
		to.Tags = p.Tags
	}
	if p.Attributes.Enabled != nil {
		to.Enabled = *p.Attributes.Enabled
	}
	if p.Attributes.Expires != nil {
		to.Expires = p.Attributes.Expires
	}
	if p.Attributes.NotBefore != nil {
		to.NotBefore = p.Attributes.NotBefore
	}
}
