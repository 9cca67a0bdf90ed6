package emulator

import "time"

// delete begins the soft deletion of a live secret.
func (v *vault) delete(name string) (*object, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, _, err := v.find(name, "")
	if err != nil {
		return nil, err
	}
	now := v.cfg.Now()
	gone := o.in(stateDeleting, now.Add(v.cfg.DeleteDelay))
	gone.DeletedAt = now
	return gone, v.commit(gone)
}

// getDeleted returns a deleted secret, until its purge is over.
func (v *vault) getDeleted(name string) (*object, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o := v.present(name)
	if o == nil || o.State != stateDeleted && o.State != statePurging {
		return nil, deletedSecretNotFound(name)
	}
	return o, nil
}

// recover begins the way back of a deleted secret.
func (v *vault) recover(name string) (*object, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, err := v.recoverable(name)
	if err != nil {
		return nil, err
	}
	back := o.in(stateRecovering, v.cfg.Now().Add(v.cfg.RecoverDelay))
	back.DeletedAt = time.Time{}
	return back, v.commit(back)
}

// purge begins the removal of a deleted secret for good.
func (v *vault) purge(name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, err := v.recoverable(name)
	if err != nil {
		return err
	}
	if v.cfg.PurgeProtection {
		return purgeProtected()
	}
	return v.commit(o.in(statePurging, v.cfg.Now().Add(v.cfg.PurgeDelay)))
}

func (v *vault) recoverable(name string) (*object, error) {
	switch o := v.present(name); {
	case o == nil || o.State == stateLive:
		return nil, deletedSecretNotFound(name)
	case o.State != stateDeleted:
		return nil, conflict(name, o.State)
	default:
		return o, nil
	}
}
