package emulator

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// state is where a secret stands; the package comment has the picture.
type state string

const (
	stateLive       state = "live"
	stateDeleting   state = "deleting"
	stateDeleted    state = "deleted"
	stateRecovering state = "recovering"
	statePurging    state = "purging"
)

// retention is how long a deleted secret is kept, Key Vault's default.
const retention = 90 * 24 * time.Hour

// object is a secret with all its versions, oldest first; there is at least
// one. An object in the map is never changed, only replaced.
type object struct {
	Name      string    `json:"name"`
	State     state     `json:"state"`
	Until     time.Time `json:"until,omitzero"` // end of a passing state
	DeletedAt time.Time `json:"deletedAt,omitzero"`
	Versions  []version `json:"versions"`
}

type version struct {
	ID          string            `json:"id"`
	Value       string            `json:"value"`
	ContentType *string           `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Enabled     bool              `json:"enabled"`
	Expires     *int64            `json:"exp,omitempty"` // Unix seconds, as all times here
	NotBefore   *int64            `json:"nbf,omitempty"`
	Created     int64             `json:"created"`
	Updated     int64             `json:"updated"`
}

func (o *object) latest() version { return o.Versions[len(o.Versions)-1] }

// keyOf folds a name: Key Vault keeps its case and ignores it.
func keyOf(name string) string { return strings.ToLower(name) }

// vault is the state behind the server.
type vault struct {
	cfg  Config
	file string

	mu      sync.Mutex
	objects map[string]*object
	// whole is how long the file was when it was last written as a whole.
	whole int64
}

// slack is how much longer than twice that it may become.
const slack = 1 << 20

func openVault(cfg Config, file string) (*vault, error) {
	objects, err := readContents(file)
	if err != nil {
		return nil, err
	}
	v := &vault{cfg: cfg, file: file, objects: objects}
	v.whole, err = writeContents(file, v.all())
	return v, err
}

// present returns what has the name now, or nil. It ends a passing state whose time is
// up, and writes nothing: the file has the times, from which the same follows.
func (v *vault) present(name string) *object {
	key, now := keyOf(name), v.cfg.Now()
	o := v.objects[key]
	if o == nil {
		return nil
	}
	due := !now.Before(o.Until)
	if o.State == stateDeleting && due {
		o = o.in(stateDeleted, time.Time{})
	}
	switch {
	case o.State == stateRecovering && due:
		o = o.in(stateLive, time.Time{})
	case o.State == statePurging && due, o.State == stateDeleted && !now.Before(o.DeletedAt.Add(retention)):
		delete(v.objects, key)
		return nil
	}
	v.objects[key] = o
	return o
}

// all returns every object, by folded name.
func (v *vault) all() []*object {
	var all []*object
	for _, key := range slices.Sorted(maps.Keys(v.objects)) {
		if o := v.present(key); o != nil {
			all = append(all, o)
		}
	}
	return all
}

// in returns a copy of o in another state.
func (o *object) in(s state, until time.Time) *object {
	moved := *o
	moved.State, moved.Until = s, until
	return &moved
}

// commit puts o in the file and the map; if the file cannot be written nothing
// has changed. Callers hold mu.
func (v *vault) commit(o *object) error {
	size, err := appendChange(v.file, o)
	if err != nil {
		return err
	}
	v.objects[keyOf(o.Name)] = o
	if size > 2*v.whole+slack {
		// The change is kept whether or not this works.
		if whole, err := writeContents(v.file, v.all()); err == nil {
			v.whole = whole
		}
	}
	return nil
}

// set adds a version, the first one if need be.
func (v *vault) set(name string, add version) (*object, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o := &object{Name: name, State: stateLive}
	if found := v.present(name); found != nil {
		if found.State != stateLive {
			return nil, conflict(name, found.State)
		}
		kept := *found
		o = &kept
	}
	add.ID = newVersionID()
	add.Created = v.cfg.Now().Unix()
	add.Updated = add.Created
	o.Versions = append(slices.Clone(o.Versions), add)
	return o, v.commit(o)
}

// get returns a live secret and one of its versions, the latest for "".
func (v *vault) get(name, id string) (*object, version, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, i, err := v.find(name, id)
	if err != nil {
		return nil, version{}, err
	}
	if !o.Versions[i].Enabled {
		return nil, version{}, secretDisabled()
	}
	return o, o.Versions[i], nil
}

// versions returns a live secret, whose latest version may be disabled.
func (v *vault) versions(name string) (*object, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, _, err := v.find(name, "")
	return o, err
}

func (v *vault) find(name, id string) (*object, int, error) {
	o := v.present(name)
	if o == nil || o.State != stateLive {
		return nil, 0, secretNotFound(name)
	}
	if id == "" {
		return o, len(o.Versions) - 1, nil
	}
	i := slices.IndexFunc(o.Versions, func(each version) bool { return each.ID == id })
	if i < 0 {
		return nil, 0, secretNotFound(name + "/" + id)
	}
	return o, i, nil
}

// update changes a version's properties in place.
func (v *vault) update(name, id string, change func(*version)) (*object, version, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	found, i, err := v.find(name, id)
	if err != nil {
		return nil, version{}, err
	}
	o := *found
	o.Versions = slices.Clone(found.Versions)
	change(&o.Versions[i])
	o.Versions[i].Updated = v.cfg.Now().Unix()
	return &o, o.Versions[i], v.commit(&o)
}

// list returns the secrets in a state, by folded name.
func (v *vault) list(s state) []*object {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []*object
	for _, o := range v.all() {
		if o.State == s || s == stateDeleted && o.State == statePurging {
			found = append(found, o)
		}
	}
	return found
}

func newVersionID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}
