package tenantdb_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestChangedFilesAreReadAgain: what was read of files is used for as long as they are
// the same, however old those are that take their place.
func TestChangedFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string, age time.Duration) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("1_a.up.sql", "CREATE TABLE a ();", time.Hour)
	b := setup(t, withApp(os.DirFS(dir)))
	seen := map[string]string{}
	look := func(what string) {
		t.Helper()
		name := b.Template()
		if before, ok := seen[name]; ok {
			t.Errorf("%s: the template is that of %s", what, before)
		}
		if again := b.Template(); again != name {
			t.Errorf("%s: the template is %s, then %s", what, name, again)
		}
		seen[name] = what
	}
	look("the first file")
	write("1_a.up.sql", "CREATE TABLE b ();", 2*time.Hour)
	look("an older file in its place")
	write("2_c.up.sql", "CREATE TABLE c ();", time.Hour)
	look("a file more")
	write("2_c.up.sql", "CREATE TABLE d ();", 0)
	look("a file that was written just now")
	write("2_c.up.sql", "CREATE TABLE e ();", 0)
	look("the same file, written again at once")
	if err := os.Remove(filepath.Join(dir, "1_a.up.sql")); err != nil {
		t.Fatal(err)
	}
	look("a file less")
}
