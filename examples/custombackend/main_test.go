package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test's own executable be the program: see output.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// output runs the program and returns what it prints and the code that it exits with.
func output(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RUN_PROGRAM=1")
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

const (
	rendered  = "the renderer, and is stored for an hour"
	fromCache = "the cache"
)

// showing is the lines of the program that say where each page comes from.
func showing(first, second, other string) string {
	return `  "Article 7, page 1" comes from ` + first + "\n" +
		`  "Article 7, page 2" comes from ` + second + "\n" +
		`  "Article 8, page 1" comes from ` + other + "\n"
}

func TestProgram(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")

	// The first run finds nothing, the second what the first has left.
	for _, first := range []string{
		showing(rendered, rendered, rendered),
		showing(fromCache, fromCache, fromCache),
	} {
		stdout, stderr, code := output(t, "-dir", dir)
		require.Zero(t, code, stderr)
		require.Empty(t, stderr)
		want := "Three pages, read through the cache:\n" + first +
			"The same once more:\n" + showing(fromCache, fromCache, fromCache) +
			"Article 7 changed, and its namespace was dropped:\n" + showing(rendered, rendered, fromCache) +
			"The first page is now under the key\n  appcache/articles/7/@"
		require.Equal(t, want, stdout[:min(len(want), len(stdout))])

		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		require.FileExists(t, strings.TrimSpace(lines[len(lines)-1]))
	}
}

func TestProgramTemporaryFolder(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := output(t)
	require.Zero(t, code, stderr)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.NoDirExists(t, filepath.Dir(strings.TrimSpace(lines[len(lines)-1])), "it must clean up after itself")
}

func TestProgramErrors(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	tests := []struct {
		name   string
		args   []string
		stderr string
		code   int
	}{
		{"not a folder", []string{"-dir", file}, "custombackend: ", 1},
		{"no such flag", []string{"-folder", file}, "flag provided but not defined: -folder", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, stderr, code := output(t, tt.args...)
			require.Equal(t, tt.code, code)
			require.Contains(t, stderr, tt.stderr)
		})
	}
}
