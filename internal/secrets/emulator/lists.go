package emulator

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxResults is the size of a page, and the most a client may ask for.
const maxResults = 25

func (s *Server) listSecrets(r *http.Request) (any, error) {
	return paged(r, s.vault.list(stateLive), nameKey, func(o *object) bundle {
		b := s.vault.describe(r, o, o.latest())
		b.ID = "https://" + r.Host + "/secrets/" + o.Name
		return b
	})
}

func (s *Server) listDeleted(r *http.Request) (any, error) {
	return paged(r, s.vault.list(stateDeleted), nameKey, func(o *object) bundle {
		b := s.vault.describeDeleted(r, o)
		b.ID = "https://" + r.Host + "/secrets/" + o.Name
		return b
	})
}

// listVersions lists disabled versions too.
func (s *Server) listVersions(r *http.Request) (any, error) {
	o, err := s.vault.versions(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	// Ids are random, so ordering by them is as good as Key Vault's order,
	// which is none, and paging by them stays right while versions are added.
	sorted := slices.SortedFunc(slices.Values(o.Versions), func(a, b version) int {
		return strings.Compare(a.ID, b.ID)
	})
	return paged(r, sorted, func(of version) string { return of.ID }, func(of version) bundle {
		return s.vault.describe(r, o, of)
	})
}

func nameKey(o *object) string { return keyOf(o.Name) }

// paged answers with the part of all, which is sorted by key, that r asks for.
// The token of the next page is the last key of this one, so secrets that come
// and go between pages shift nothing.
func paged[T any](r *http.Request, all []T, key func(T) string, show func(T) bundle) (any, error) {
	query := r.URL.Query()
	limit := maxResults
	if asked := query.Get("maxresults"); asked != "" {
		n, err := strconv.Atoi(asked)
		if err != nil || n < 1 || n > maxResults {
			return nil, badParameter("maxresults must be between 1 and %d.", maxResults)
		}
		limit = n
	}
	if token := query.Get("$skiptoken"); token != "" {
		after, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return nil, badParameter("$skiptoken is not valid.")
		}
		all = slices.DeleteFunc(slices.Clone(all), func(each T) bool { return key(each) <= string(after) })
	}
	answer := page{Value: []bundle{}}
	for _, each := range all[:min(limit, len(all))] {
		answer.Value = append(answer.Value, show(each))
	}
	if len(all) > limit {
		query.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(key(all[limit-1]))))
		link := (&url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawQuery: query.Encode()}).String()
		answer.NextLink = &link
	}
	return answer, nil
}
