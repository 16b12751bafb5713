// Package size_test looks at what a program gets that uses the library with one backend.
package size_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/benchmarks/internal/report"
)

var write = flag.String("write", "", "write what was found into docs/, as found by this command")

const (
	library = "github.com/goappcache/appcache"
	docs    = "../../docs/benchmarks.md"
)

// clients are the modules of which a program must have only those of the backend that it uses.
var clients = []string{"github.com/redis/go-redis/v9", "github.com/bradfitz/gomemcache", "modernc.org/sqlite"}

// programs are the smallest ones that cache something. The first has a backend of its own.
var programs = []struct {
	name, imports, backend, client string
}{
	{"no backend", "", "own{}", ""},
	{"redis", `"` + library + `/redis"`, "redis.New(nil)", clients[0]},
	{"memcache", `"` + library + `/memcache"`, "memcache.New(nil, nil)", clients[1]},
	{"sqlitelru", `"` + library + `/sqlitelru"`, "must(sqlitelru.New(nil, nil))", clients[2]},
}

const source = `package main

import (
	"context"
	"fmt"
	"time"

	"` + library + `"
	%s
)

type own struct{}

func (own) GetRaw(context.Context, string) ([]byte, bool, error)          { return nil, false, nil }
func (own) SetRaw(context.Context, string, []byte, time.Duration) error   { return nil }
func (own) InvalidateRaw(context.Context, string) error                   { return nil }
func (own) Clear(context.Context) error                                   { return nil }

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	cache := appcache.New[time.Time](%s, nil)
	fmt.Println(cache.GetVia(context.Background(), appcache.StringKey[time.Time]("now"), time.Hour,
		func(context.Context) (time.Time, error) { return time.Now(), nil }))
}
`

// baseline is a program that does without the library, to see what that adds.
const baseline = `package main

import (
	"context"
	"fmt"
	"time"
)

func main() { fmt.Println(context.Background(), time.Now()) }
`

// A program that uses one backend has no other one's client in it.
func TestOnlyTheClientOfTheBackend(t *testing.T) {
	t.Parallel()
	table := report.Table{Head: []string{"a program with", "packages", "of them not of Go's own", "modules", "lines in go.sum", "binary, MB"}}
	plain := build(t, baseline)
	table.Add(append([]string{"neither cache nor backend"}, plain.cells()...)...)
	for _, p := range programs {
		built := build(t, fmt.Sprintf(source, p.imports, p.backend))
		require.Contains(t, built.modules, library)
		for _, client := range clients {
			if client == p.client {
				require.Contains(t, built.modules, client, "a program with %s", p.name)
			} else {
				require.NotContains(t, built.modules, client, "a program with %s", p.name)
			}
		}
		table.Add(append([]string{p.name}, built.cells()...)...)
	}
	t.Log("\n" + table.String())
	if *write != "" {
		machine, err := report.Machine(t.Context(), *write, clients)
		require.NoError(t, err)
		require.NoError(t, report.Write(docs, "size", machine+"\n"+table.String()))
	}
}

// built is what became of a program.
type built struct {
	packages, others int // in it, and those that aren't Go's own
	modules          []string
	sums             int // lines of its go.sum
	size             int64
}

func (b built) cells() []string {
	return []string{fmt.Sprint(b.packages), fmt.Sprint(b.others), fmt.Sprint(len(b.modules)), fmt.Sprint(b.sums), fmt.Sprintf("%.1f", float64(b.size)/1e6)}
}

// build makes a module of source, in which nothing is required but the library, and builds it.
func build(t *testing.T, source string) built {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	mod := "module consumer\n\ngo 1.25.0\n"
	if strings.Contains(source, library) {
		mod += fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %[1]s => %s\n", library, root)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600))

	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		// All is in the module cache: the benchmarks are built from it too.
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		require.NoError(t, err, errs.String())
		return strings.TrimSpace(string(out))
	}
	run("build", "-o", "program", ".")
	var b built
	for line := range strings.Lines(run("list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", ".")) {
		_, module, _ := strings.Cut(strings.TrimSpace(line), " ")
		b.packages++
		if module != "" {
			b.others++
			b.modules = append(b.modules, module)
		}
	}
	slices.Sort(b.modules)
	b.modules = slices.Compact(b.modules)
	info, err := os.Stat(filepath.Join(dir, "program"))
	require.NoError(t, err)
	b.size = info.Size()
	if sums, err := os.ReadFile(filepath.Join(dir, "go.sum")); err == nil {
		b.sums = strings.Count(string(sums), "\n")
	}
	return b
}
