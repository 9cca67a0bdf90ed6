package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// contents is how the file begins: what there was when the vault was opened. What
// became of a secret since follows it, one object a line, so that a change costs the
// same however many secrets there are. Format rises if that changes.
type contents struct {
	Format  int       `json:"format"`
	Secrets []*object `json:"secrets"`
}

const (
	fileFormat = 2
	// wholeFormat had the contents and no changes after them.
	wholeFormat = 1
)

func readContents(file string) (map[string]*object, error) {
	objects := map[string]*object{}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return objects, nil
	}
	if err != nil {
		return nil, err
	}
	foreign := fmt.Errorf("cannot read %s: it is not a file of this emulator", file)
	decoder := json.NewDecoder(bytes.NewReader(data))
	var kept contents
	if err := decoder.Decode(&kept); err != nil {
		return nil, foreign
	}
	if kept.Format != fileFormat && kept.Format != wholeFormat {
		return nil, fmt.Errorf("cannot read %s: its format is %d, not %d", file, kept.Format, fileFormat)
	}
	for _, o := range kept.Secrets {
		objects[keyOf(o.Name)] = o
	}
	for {
		var o object
		switch err := decoder.Decode(&o); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return objects, nil // a change that a kill cut short was never answered
		case err != nil || o.Name == "" || len(o.Versions) == 0:
			return nil, foreign
		}
		objects[keyOf(o.Name)] = &o
	}
}

func writeContents(file string, all []*object) error {
	data, err := json.Marshal(contents{Format: fileFormat, Secrets: all})
	if err != nil {
		return err
	}
	return writeFile(file, append(data, '\n'), 0o600)
}

// appendChange adds what became of a secret, or leaves the file as it was.
func appendChange(file string, o *object) (err error) {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		return errors.Join(err, f.Truncate(before.Size()))
	}
	return nil
}

// writeFile replaces a file as a whole: after a crash it is the old or the new
// one, and once writeFile has returned it is the new one.
func writeFile(file string, data []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(file)
	temp, err := os.CreateTemp(dir, filepath.Base(file)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(mode), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
