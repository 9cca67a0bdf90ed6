package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// contents is the file's form. Format rises if it changes.
type contents struct {
	Format  int       `json:"format"`
	Secrets []*object `json:"secrets"`
}

const fileFormat = 1

func readContents(file string) (map[string]*object, error) {
	objects := map[string]*object{}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return objects, nil
	}
	if err != nil {
		return nil, err
	}
	var kept contents
	if err := json.Unmarshal(data, &kept); err != nil {
		return nil, fmt.Errorf("cannot read %s: it is not a file of this emulator", file)
	}
	if kept.Format != fileFormat {
		return nil, fmt.Errorf("cannot read %s: its format is %d, not %d", file, kept.Format, fileFormat)
	}
	for _, o := range kept.Secrets {
		objects[keyOf(o.Name)] = o
	}
	return objects, nil
}

func writeContents(file string, objects map[string]*object) error {
	kept := contents{Format: fileFormat}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		kept.Secrets = append(kept.Secrets, objects[key])
	}
	data, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return writeFile(file, data, 0o600)
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
