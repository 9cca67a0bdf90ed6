package tenantdb

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/golang-migrate/migrate/v4/source"
	"github.com/golang-migrate/migrate/v4/source/iofs"
)

// migrationSet is a directory of golang-migrate files and the table that
// records how far it is applied.
type migrationSet struct {
	label string // "built-in", for messages
	files fs.FS
	table string // in ownSchema
	// read is what was read of the files last.
	read *readFiles
}

// readFiles spares reading files again that did not change: to look at their times
// takes a fraction of that, and each job looks several times.
type readFiles struct {
	mu    sync.Mutex
	stamp string
	up    []upFile
}

// unsettled is how long a file's time says nothing: a second write may leave the same.
const unsettled = 2 * time.Second

// stamp is the files' names, sizes and times of change; "" if those do not tell that
// the files are what they were.
func (set migrationSet) stamp() string {
	if _, fixed := set.files.(embed.FS); fixed {
		return "embedded"
	}
	entries, err := fs.ReadDir(set.files, ".")
	if err != nil {
		return ""
	}
	var stamp strings.Builder
	for _, e := range entries {
		info, err := fs.Stat(set.files, e.Name()) // of what a link leads to
		if err != nil || info.ModTime().IsZero() || time.Since(info.ModTime()) < unsettled {
			return ""
		}
		fmt.Fprintln(&stamp, e.Name(), info.Size(), info.ModTime().UnixNano(), info.Mode())
	}
	return stamp.String()
}

var numberedSQL = regexp.MustCompile(`^[0-9].*\.sql$`)

// check finds what golang-migrate would silently skip, or stumble over later.
func (set migrationSet) check() error {
	entries, err := fs.ReadDir(set.files, ".")
	if err != nil {
		return fmt.Errorf("cannot list the directory: %w", err)
	}
	type key struct {
		version   uint
		direction source.Direction
	}
	seen := map[key]string{}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		m, err := source.DefaultParse(e.Name())
		switch {
		case err != nil && numberedSQL.MatchString(e.Name()):
			return fmt.Errorf("file %s: the name is not VERSION_TITLE.up.sql or VERSION_TITLE.down.sql", e.Name())
		case err != nil:
			continue
		case uint64(m.Version) > math.MaxInt64:
			return fmt.Errorf("file %s: the version is too large", e.Name())
		}
		k := key{m.Version, m.Direction}
		if other, dup := seen[k]; dup {
			return fmt.Errorf("files %s and %s have the same version", other, e.Name())
		}
		seen[k] = e.Name()
	}
	if len(seen) == 0 {
		return errors.New("the directory has no file named VERSION_TITLE.up.sql")
	}
	return nil
}

// open lists the directory as it is now. What is returned is one goroutine's: the
// library sorts its versions when it is first asked, without a lock.
func (set migrationSet) open() (*migrationSource, error) {
	if err := set.check(); err != nil {
		return nil, err
	}
	src, err := iofs.New(unclosable{set.files}, ".")
	if err != nil {
		return nil, err
	}
	return &migrationSource{src}, nil
}

// unclosable keeps the source from closing the caller's file system.
type unclosable struct{ fs.FS }

func (u unclosable) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(u.FS, name) }

// migrationSource reads a file whole before it is run. golang-migrate reads
// while it runs, and takes a failed read for the end of the file.
type migrationSource struct{ source.Driver }

// ReadUp implements source.Driver.
func (s *migrationSource) ReadUp(version uint) (io.ReadCloser, string, error) {
	r, identifier, err := s.Driver.ReadUp(version)
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, "", err
	}
	return io.NopCloser(bytes.NewReader(b)), identifier, nil
}

// next returns the version after version, the first one after nilVersion; ok is
// false at the end.
func (s *migrationSource) next(version int64) (next int64, ok bool, err error) {
	var v uint
	if version == nilVersion {
		v, err = s.First()
	} else {
		v, err = s.Next(uint(version))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	return int64(v), err == nil, err
}

// has reports whether the set has a file of the version.
func (s *migrationSource) has(version int64) bool {
	if version == nilVersion {
		return true
	}
	for v, ok, err := s.next(nilVersion); ok && err == nil && v <= version; v, ok, err = s.next(v) {
		if v == version {
			return true
		}
	}
	return false
}

// nilVersion is the version of a set of which nothing is applied.
const nilVersion = -1

// upFile is a file that Migrate would run.
type upFile struct {
	name    string
	content []byte
}

// upFiles are the files that Migrate would run, in the order of their names.
func (set migrationSet) upFiles() ([]upFile, error) {
	stamp := set.stamp() // first: what changes meanwhile is read again next time
	set.read.mu.Lock()
	defer set.read.mu.Unlock()
	if stamp != "" && stamp == set.read.stamp {
		return set.read.up, nil
	}
	if err := set.check(); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(set.files, ".")
	if err != nil {
		return nil, err
	}
	var files []upFile
	for _, e := range entries {
		m, err := source.DefaultParse(e.Name())
		if err != nil || e.IsDir() || m.Direction != source.Up {
			continue
		}
		file, err := set.files.Open(e.Name()) // as golang-migrate does
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		files = append(files, upFile{e.Name(), content})
	}
	set.read.stamp, set.read.up = stamp, files
	return files, nil
}
