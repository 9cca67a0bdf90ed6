package emulator

import (
	"encoding/json"
	"errors"
	"net/http"
)

// attributes, bundle and page are Key Vault's JSON. Times are Unix seconds.
type attributes struct {
	Enabled         *bool  `json:"enabled,omitempty"`
	NotBefore       *int64 `json:"nbf,omitempty"`
	Expires         *int64 `json:"exp,omitempty"`
	Created         int64  `json:"created,omitempty"`
	Updated         int64  `json:"updated,omitempty"`
	RecoveryLevel   string `json:"recoveryLevel,omitempty"`
	RecoverableDays int    `json:"recoverableDays,omitempty"`
}

type bundle struct {
	Value              *string           `json:"value,omitempty"`
	ContentType        *string           `json:"contentType,omitempty"`
	ID                 string            `json:"id"`
	Attributes         attributes        `json:"attributes"`
	Tags               map[string]string `json:"tags,omitempty"`
	RecoveryID         string            `json:"recoveryId,omitempty"`
	DeletedDate        int64             `json:"deletedDate,omitempty"`
	ScheduledPurgeDate int64             `json:"scheduledPurgeDate,omitempty"`
}

type page struct {
	Value    []bundle `json:"value"`
	NextLink *string  `json:"nextLink"`
}

// parameters is the body of set and update.
type parameters struct {
	Value       *string           `json:"value"`
	ContentType *string           `json:"contentType"`
	Attributes  attributes        `json:"attributes"`
	Tags        map[string]string `json:"tags"`
}

// describe is a version without its value. Ids name the host the client used,
// so that they stay right when the port changes.
func (v *vault) describe(r *http.Request, o *object, of version) bundle {
	level := "Recoverable+Purgeable"
	if v.cfg.PurgeProtection {
		level = "Recoverable"
	}
	return bundle{
		ID:          "https://" + r.Host + "/secrets/" + o.Name + "/" + of.ID,
		ContentType: of.ContentType,
		Tags:        of.Tags,
		Attributes: attributes{
			Enabled: &of.Enabled, NotBefore: of.NotBefore, Expires: of.Expires,
			Created: of.Created, Updated: of.Updated,
			RecoveryLevel: level, RecoverableDays: int(retention.Hours() / 24),
		},
	}
}

// describeDeleted is the latest version of a deleted secret.
func (v *vault) describeDeleted(r *http.Request, o *object) bundle {
	b := v.describe(r, o, o.latest())
	b.RecoveryID = "https://" + r.Host + "/deletedsecrets/" + o.Name
	b.DeletedDate = o.DeletedAt.Unix()
	b.ScheduledPurgeDate = o.DeletedAt.Add(retention).Unix()
	return b
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client left
}

type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code       string       `json:"code"`
	Message    string       `json:"message"`
	InnerError *errorDetail `json:"innererror,omitempty"`
}

// writeError writes err in Key Vault's form. What is none of its errors is the
// disk's: 500, without saying more.
func writeError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*vaultError](err)
	if !ok {
		e = &vaultError{status: http.StatusInternalServerError, code: "InternalServerError", message: "The emulator could not keep the change."}
	}
	detail := errorDetail{Code: e.code, Message: e.message}
	if e.inner != "" {
		detail.InnerError = &errorDetail{Code: e.inner, Message: e.message}
	}
	writeJSON(w, e.status, errorBody{detail})
}
