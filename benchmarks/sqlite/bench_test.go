package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/benchmarks/internal/report"
	"github.com/goappcache/appcache/benchmarks/sqlite"
	"github.com/goappcache/appcache/sqlitelru"
)

var (
	write   = flag.String("write", "", "write what was measured into docs/, as measured by this command")
	largest = flag.Int("largest", 1_000_000, "the largest number of entries for which BenchmarkSizes measures")

	measured report.Report
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *write == "" {
		os.Exit(m.Run())
	}
	os.Exit(report.RunAndWrite(m, func(ctx context.Context) (string, error) { return report.Machine(ctx, *write, modules) }, writeDocs))
}

var modules = []string{"modernc.org/sqlite", "github.com/mattn/go-sqlite3", "go.etcd.io/bbolt"}

const (
	benchEntries = 10_000
	benchTTL     = time.Hour
	goroutines   = 64
)

var errMiss = errors.New("a miss")

// bench is a full store and what is done with it.
type bench struct {
	sqlite.Store
	keys  []string
	value []byte
	next  atomic.Int64
}

func newBench(b *testing.B, m maker, place string, keys []string, value []byte) *bench {
	b.Helper()
	s := open(b, m, place)
	require.NoError(b, s.Fill(b.Context(), len(keys), value, benchTTL))
	return &bench{Store: s, keys: keys, value: value}
}

func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = sqlite.Key(i)
	}
	return keys
}

func (s *bench) key() string { return s.keys[rand.IntN(len(s.keys))] }

func (s *bench) get() error {
	value, found, err := s.Get(context.Background(), s.key())
	if err == nil && (!found || len(value) != len(s.value)) {
		return errMiss
	}
	return err
}

func (s *bench) overwrite() error {
	return s.Set(context.Background(), s.key(), s.value, benchTTL)
}

func (s *bench) newKey() error {
	key := sqlite.Key(len(s.keys) + int(s.next.Add(1)))
	return s.Set(context.Background(), key, s.value, benchTTL)
}

func (s *bench) mixed() error {
	if rand.IntN(10) > 0 {
		return s.get()
	}
	return s.overwrite()
}

// operations are the columns of the table. newKey is the last one: after it the keys aren't there any more.
var operations = []struct {
	name       string
	goroutines int
	run        func(*bench) error
	all        bool // those that don't evict too
}{
	{"Get", 1, (*bench).get, true},
	{"overwrite", 1, (*bench).overwrite, true},
	{"64 goroutines", goroutines, (*bench).mixed, true},
	{"new key", 1, (*bench).newKey, false},
}

// BenchmarkStores measures 10,000 entries of 1 KiB.
func BenchmarkStores(b *testing.B) {
	keys, value := benchKeys(benchEntries), bytes.Repeat([]byte("0123456789abcdef"), 64)
	for _, place := range places {
		b.Run(place.name, func(b *testing.B) {
			var stores []*bench
			var names []string
			var evicts []bool
			for _, c := range contenders(benchEntries) {
				if c.noPlace != place.name {
					stores = append(stores, newBench(b, c.make, place.path(b), keys, value))
					names = append(names, c.name)
					evicts = append(evicts, c.evicts)
				}
			}
			for _, op := range operations {
				group := report.Group{Name: place.name + "/" + op.name, Goroutines: op.goroutines}
				if op.goroutines > 1 {
					// So long that it doesn't count that each of them grows its stack in its first statement.
					group.Batch = 100 * time.Millisecond
				}
				for i, s := range stores {
					if op.all || evicts[i] {
						group.Candidates = append(group.Candidates, report.Candidate{Name: names[i], Run: func() error { return op.run(s) }})
					}
				}
				b.Run(op.name, func(b *testing.B) { measured.Measure(b, group) })
			}
		})
	}
}

// sizes are the numbers of entries, of 100 bytes, for which BenchmarkSizes measures. The naive one isn't
// measured beyond the third, as it would take minutes.
var sizes = []int{1_000, 10_000, 100_000, 1_000_000}

const naiveLargest = 100_000

// BenchmarkSizes measures what the operations cost as the cache grows. A plain SELECT on a table that stays
// the same takes its turns with them, so that sizes can be compared although they follow one another.
func BenchmarkSizes(b *testing.B) {
	value := bytes.Repeat([]byte("v"), 100)
	for _, place := range places {
		reference := newBench(b, sqlite.NewDirect, "", benchKeys(10_000), value)
		for _, n := range sizes {
			if n > *largest {
				continue
			}
			b.Run(fmt.Sprintf("%s/%d", place.name, n), func(b *testing.B) {
				keys, path := benchKeys(n), place.path(b)
				ours := newBench(b, lru(sqlite.NewOurs, n), path, keys, value)
				var naive *bench
				if n <= naiveLargest {
					naive = newBench(b, lru(sqlite.NewNaive, n), place.path(b), keys, value)
				}
				for _, op := range operations {
					if op.goroutines > 1 {
						continue
					}
					group := report.Group{Name: fmt.Sprintf("%s/%d/%s", place.name, n, op.name), Candidates: []report.Candidate{
						{Name: "reference", Run: reference.get},
						{Name: "appcache", Run: func() error { return op.run(ours) }},
					}}
					if naive != nil {
						group.Candidates = append(group.Candidates, report.Candidate{Name: "naive", Run: func() error { return op.run(naive) }})
					}
					b.Run(op.name, func(b *testing.B) { measured.Measure(b, group) })
				}
				average(b, fmt.Sprintf("%s/%d/%s", place.name, n, onAverage), reference, ours)
				if path == "" {
					return
				}
				require.NoError(b, ours.Close())
				b.Run("Open", func(b *testing.B) {
					measured.Measure(b, report.Group{Name: fmt.Sprintf("file/%d/Open", n), Candidates: []report.Candidate{
						{Name: "reference", Run: reference.get},
						{Name: "appcache", Run: func() error {
							backend, err := sqlitelru.Open(path, &sqlitelru.Options{MaxSize: n})
							if err != nil {
								return err
							}
							return backend.Close()
						}},
					}})
				})
			})
		}
	}
}

const onAverage = "new key, on average"

// average measures so many new keys in a row that what is done once in many evictions is among them, which a median
// doesn't show.
func average(b *testing.B, group string, reference, ours *bench) {
	b.Helper()
	took := func(n int, run func() error) float64 {
		begin := time.Now()
		for range n {
			require.NoError(b, run())
		}
		return float64(time.Since(begin)) / float64(n)
	}
	before := took(10_000, reference.get)
	average := took(max(1000, len(ours.keys)/8), ours.newKey)
	after := took(10_000, reference.get)
	measured.Add(group, []report.Samples{
		{Name: "reference", NS: []float64{(before + after) / 2}},
		{Name: "appcache", NS: []float64{average}},
	})
}

const docs = "../../docs"

// writeDocs writes the tables and the plots.
func writeDocs(machine string) error {
	text := fmt.Sprintf("%s\nMedians of %d rounds.\n\n%s\n%s\n%s", machine, measured.Rounds(), timesTable(), selectTable(), sizesTable())
	fmt.Println(text)
	if err := report.Write(filepath.Join(docs, "benchmarks.md"), "sqlite", text); err != nil {
		return err
	}
	for _, place := range places {
		svg := report.Plot("An operation by the number of entries, "+placeName(place.name), "entries of 100 bytes", sizeLines(place.name))
		if err := os.WriteFile(filepath.Join(docs, "sqlite-"+place.name+".svg"), []byte(svg), 0o644); err != nil { //nolint:gosec // it is to be read
			return err
		}
	}
	return nil
}

func placeName(place string) string {
	if place == "memory" {
		return "in memory"
	}
	return "on a file"
}

// timesTable has what an operation takes, and how many times faster than the naive one that is.
func timesTable() string {
	table := report.Table{Head: []string{"10,000 entries of 1 KiB"}}
	for _, op := range operations {
		table.Head = append(table.Head, op.name)
	}
	for _, place := range places {
		for _, c := range contenders(0) {
			row := []string{placeName(place.name) + ": " + c.name}
			for _, op := range operations {
				s, naive := measured.Of(place.name+"/"+op.name, c.name), measured.Of(place.name+"/"+op.name, "naive")
				if s == nil {
					row = append(row, "–")
					continue
				}
				row = append(row, fmt.Sprintf("%s (%s×)", report.Duration(report.Median(s.NS)), report.Ratio(report.Median(report.Ratios(naive.NS, s.NS)))))
			}
			if c.noPlace != place.name {
				table.Add(row...)
			}
		}
	}
	return table.String()
}

// selectTable has how fast our Get is, of what the others take.
func selectTable() string {
	table := report.Table{Head: []string{"appcache's Get, as a part of the speed of", "in memory", "on a file"}}
	for _, c := range contenders(0) {
		if c.evicts {
			continue
		}
		row := []string{c.name}
		for _, place := range places {
			ours, other := measured.Of(place.name+"/Get", "appcache"), measured.Of(place.name+"/Get", c.name)
			if other == nil {
				row = append(row, "–")
				continue
			}
			ratios := report.Ratios(other.NS, ours.NS)
			low, high := report.Spread(ratios)
			row = append(row, fmt.Sprintf("%s (%s to %s)", report.Ratio(report.Median(ratios)), report.Ratio(low), report.Ratio(high)))
		}
		table.Add(row...)
	}
	return table.String()
}

// cost returns what an operation of a candidate takes with n entries in units of the reference, or 0 when it
// wasn't measured.
func cost(place string, n int, op, candidate string) float64 {
	group := fmt.Sprintf("%s/%d/%s", place, n, op)
	s, reference := measured.Of(group, candidate), measured.Of(group, "reference")
	if s == nil {
		return 0
	}
	return report.Median(report.Ratios(s.NS, reference.NS))
}

// reference returns what the reference takes, over all groups in which it was.
func reference() float64 {
	var ns []float64
	for _, group := range measured.Groups() {
		if s := measured.Of(group, "reference"); s != nil {
			ns = append(ns, s.NS...)
		}
	}
	return report.Median(ns)
}

func sizeOperations() []string {
	return []string{"Get", "overwrite", "new key", onAverage, "Open"}
}

// sizesTable has what an operation takes as the cache grows, and that as a multiple of what it takes with
// 10,000 entries.
func sizesTable() string {
	table := report.Table{Head: []string{"entries of 100 bytes"}}
	for _, n := range sizes {
		table.Head = append(table.Head, fmt.Sprint(n))
	}
	for _, place := range places {
		for _, candidate := range []string{"appcache", "naive"} {
			for _, op := range sizeOperations() {
				row, some := []string{placeName(place.name) + ": " + candidate + ", " + op}, false
				for _, n := range sizes {
					c := cost(place.name, n, op, candidate)
					if c == 0 {
						row = append(row, "–")
						continue
					}
					row, some = append(row, fmt.Sprintf("%s (%s)", report.Duration(c*reference()), report.Ratio(c/cost(place.name, 10_000, op, candidate)))), true
				}
				if some {
					table.Add(row...)
				}
			}
		}
	}
	return table.String()
}

func sizeLines(place string) []report.Line {
	var lines []report.Line
	for _, candidate := range []string{"appcache", "naive"} {
		for _, op := range sizeOperations() {
			line := report.Line{Name: candidate + ", " + op, Dashed: candidate == "naive"}
			for _, n := range sizes {
				if c := cost(place, n, op, candidate); c > 0 {
					line.X, line.Y = append(line.X, float64(n)), append(line.Y, c*reference())
				}
			}
			if len(line.X) > 0 {
				lines = append(lines, line)
			}
		}
	}
	return lines
}
