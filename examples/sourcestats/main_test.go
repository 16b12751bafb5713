package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/sqlitelru"
)

// TestMain lets the test's own executable be the program: see program.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RUN_PROGRAM=1")
	return cmd
}

// output runs the program and returns what it prints and the code that it exits with.
func output(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	cmd := program(t, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// write makes files in a new folder.
func write(t *testing.T, files map[string]string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for name, text := range files {
		path := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return folder
}

var sources = map[string]string{
	"a.go": `// Package a is documented
// in two lines.
package a

import (
	"fmt"
	"os"
)

type T struct{} // with a comment

type list[E any] []E

func (t *T) Long() {
	type local int
	fmt.Println(
		os.Args,
	)
}

func (list[E]) short() {}
`,
	"sub/a_test.go":   "package a\n\nimport \"fmt\"\n\nfunc f() {\n\tfmt.Println()\n}\n/* no newline */",
	"sub/broken.go":   "package a\n\nfunc {\n",
	"sub/empty.go":    "",
	"notes.txt":       "package a\n",
	"folder.go/b.txt": "package b\n",
}

const totals = `
             4  files
             1  of them tests
             2  of them can't be parsed: only their lines are counted
             0  of them can't be read
            32  lines
             4  of them comments
             3  functions and methods
             3  types
             2  different imports

Imported by most files
             2  fmt
             1  os

Longest functions, one of a file, in lines
             6  (*T).Long  a.go:14
             3  f          sub/a_test.go:5

`

// requireTimes runs the program and returns what it says of the times.
func requireTimes(t *testing.T, cacheFile, folder, totals string) string {
	t.Helper()
	stdout, stderr, code := output(t, "-cache", cacheFile, folder)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr, "progress is for terminals")
	times, found := strings.CutPrefix(stdout, folder+totals)
	require.True(t, found, "%s", stdout)
	return times
}

const duration = `\d+(\.\d)?m?s`

func TestRuns(t *testing.T) {
	t.Parallel()
	folder, cacheFile := write(t, sources), filepath.Join(t.TempDir(), "cache.db")
	compared := `, the first one ` + duration + `: it was \d+\.\d times as fast\.\n$`

	require.Regexp(t, `^0 of 4 files came from the cache\. This run took `+duration+`; the next one will be faster\.\n$`,
		requireTimes(t, cacheFile, folder, totals))
	require.Regexp(t, `^4 of 4 files came from the cache\. This run took `+duration+compared,
		requireTimes(t, cacheFile, folder, totals))

	// Another time, and another size with the time of before.
	file := filepath.Join(folder, "sub/a_test.go")
	require.NoError(t, os.Chtimes(file, time.Time{}, time.Now().Add(-time.Hour)))
	require.Regexp(t, `^3 of 4 files came from the cache\. This run took `+duration+compared,
		requireTimes(t, cacheFile, folder, totals))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(sources["sub/a_test.go"]+"\n"), 0o600))
	require.NoError(t, os.Chtimes(file, time.Time{}, info.ModTime()))
	require.Regexp(t, `^3 of 4 files came from the cache\. This run took `+duration+compared,
		requireTimes(t, cacheFile, folder, totals))

	// Of a folder whose files were parsed for another one there is no first run to compare with.
	stdout, _, _ := output(t, "-cache", cacheFile, filepath.Join(folder, "sub"))
	require.Regexp(t, `\n3 of 3 files came from the cache\. This run took `+duration+`\.\n$`, stdout)
}

// What was parsed before the interruption is in the cache, and the run that goes on from there counts
// together with it as the first.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 50 {
		files[fmt.Sprintf("%d.go", i)] = "package a\n"
	}
	backend, err := sqlitelru.Open(filepath.Join(t.TempDir(), "cache.db"), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	runs := appcache.New[firstRun](backend, nil)
	found, err := findFiles(t.Context(), write(t, files))
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int64
	interrupted := countAll(ctx, appcache.New[fileStats](backend, &appcache.Options{
		Observe: func(context.Context, appcache.Event) {
			if calls.Add(1) == 10 {
				cancel()
			}
		},
	}), found)
	require.GreaterOrEqual(t, interrupted.done(), 10)
	require.Less(t, interrupted.done(), len(found))
	first := rememberFirst(t.Context(), runs, "folder", 0, firstRun{Took: time.Second})
	require.Zero(t, first)

	for _, hits := range []int{interrupted.done(), len(found)} {
		var cache observer
		all := countAll(t.Context(), appcache.New[fileStats](backend, &appcache.Options{Observe: cache.observe}), found)
		require.Equal(t, len(found), all.done())
		require.EqualValues(t, hits, cache.hits.Load())
	}
	first = rememberFirst(t.Context(), runs, "folder", interrupted.done(), firstRun{Took: 2 * time.Second, Finished: true})
	require.Zero(t, first)
	first = rememberFirst(t.Context(), runs, "folder", len(found), firstRun{Took: time.Millisecond, Finished: true})
	require.Equal(t, firstRun{Took: 3 * time.Second, Finished: true}, first)
}

func TestErrors(t *testing.T) {
	t.Parallel()
	notSQLite := filepath.Join(write(t, map[string]string{"notes.txt": strings.Repeat("my notes\n", 1000)}), "notes.txt")
	cacheFile := filepath.Join(t.TempDir(), "cache.db")
	tests := []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"no such flag", []string{"-file", "f"}, 2, "flag provided but not defined: -file"},
		{"two folders", []string{"a", "b"}, 2, `sourcestats: one folder, not ["a" "b"]`},
		{"no such folder", []string{"-cache", cacheFile, "/no/such/folder"}, 1, "sourcestats: lstat /no/such/folder: no such file or directory\n"},
		{"not a cache", []string{"-cache", notSQLite, t.TempDir()}, 1, "and was left alone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := output(t, tt.args...)
			require.Equal(t, tt.code, code, stderr)
			require.Contains(t, stderr, tt.stderr)
			require.Empty(t, stdout)
		})
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	folder, err := sourceFolder(t.Context(), "")
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(folder, "fmt", "print.go"))

	home := t.TempDir()
	cmd := program(t, write(t, sources))
	cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+home, "HOME="+home)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	found, err := filepath.Glob(filepath.Join(home, "*", "appcache-sourcestats", "stats.db"))
	require.NoError(t, err)
	direct, err := filepath.Glob(filepath.Join(home, "appcache-sourcestats", "stats.db"))
	require.NoError(t, err)
	require.Len(t, append(found, direct...), 1)
}

// A file that is gone or can't be read is counted as such, isn't kept, and is no failure of the cache.
func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	backend, err := sqlitelru.Open(filepath.Join(t.TempDir(), "cache.db"), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	var cache observer
	stats := appcache.New[fileStats](backend, &appcache.Options{Observe: cache.observe})

	gone := sourceFile{path: filepath.Join(t.TempDir(), "gone.go")}
	results := countAll(t.Context(), stats, []sourceFile{gone})
	require.ErrorIs(t, results[0].err, os.ErrNotExist)
	require.NoError(t, cache.failure())
	var out strings.Builder
	require.NoError(t, results.print(&out, "folder"))
	require.Regexp(t, `\n +1  files\n +0  of them tests\n +0 .*\n +1  of them can't be read\n`, out.String())

	_, found, err := stats.Get(t.Context(), gone)
	require.NoError(t, err)
	require.False(t, found)
}

// A cache that fails costs time and a word about it, and no result.
func TestCacheFails(t *testing.T) {
	t.Parallel()
	backend, err := sqlitelru.Open(filepath.Join(t.TempDir(), "cache.db"), nil)
	require.NoError(t, err)
	require.NoError(t, backend.Close())
	var cache observer
	stats := appcache.New[fileStats](backend, &appcache.Options{Observe: cache.observe})

	files, err := findFiles(t.Context(), write(t, sources))
	require.NoError(t, err)
	results := countAll(t.Context(), stats, files)
	require.Equal(t, len(files), results.done())
	require.Error(t, cache.failure())
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := findFiles(ctx, t.TempDir())
	require.ErrorIs(t, err, context.Canceled)
}

func TestMaxSize(t *testing.T) {
	t.Parallel()
	require.Equal(t, 100_000, maxSize(10_000))
	require.Equal(t, 300_000, maxSize(150_000))
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 1234567: "1,234,567"} {
		require.Equal(t, want, thousands(n))
	}
}
