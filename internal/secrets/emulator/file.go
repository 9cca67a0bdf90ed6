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
	// A machine that stopped may leave zeros in place of the last changes.
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimRight(data, "\x00")))
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

// writeContents writes the file as a whole and returns its size.
func writeContents(file string, all []*object) (size int64, err error) {
	data, err := json.Marshal(contents{Format: fileFormat, Secrets: all})
	if err != nil {
		return 0, err
	}
	data = append(data, '\n')
	return int64(len(data)), writeFile(file, data, 0o600)
}

// appendChange adds what became of a secret and returns the file's size, or leaves the
// file as it was.
func appendChange(file string, o *object) (size int64, err error) {
	data, err := json.Marshal(o)
	if err != nil {
		return 0, err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	before, err := f.Stat()
	if err != nil {
		return 0, err
	}
	n, err := f.Write(append(data, '\n'))
	if err != nil {
		return 0, errors.Join(err, f.Truncate(before.Size()))
	}
	return before.Size() + int64(n), nil
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
