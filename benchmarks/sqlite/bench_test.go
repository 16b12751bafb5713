package sqlite_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	if *serve {
		if err := work(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if *write == "" {
		os.Exit(m.Run())
	}
	os.Exit(report.RunAndWrite(m, func(ctx context.Context) (string, error) { return report.Machine(ctx, *write, modules) }, writeDocs))
}

var modules = []string{"modernc.org/sqlite", "github.com/mattn/go-sqlite3", "go.etcd.io/bbolt"}

const benchEntries = 10_000

// turn is how long a candidate runs until it is the next one's turn. With several goroutines it is so long that it
// doesn't count that each of them grows its stack in its first statement.
func turn(goroutines int) time.Duration {
	if goroutines > 1 {
		return 100 * time.Millisecond
	}
	return 20 * time.Millisecond
}

// BenchmarkStores measures 10,000 entries of 1 KiB.
func BenchmarkStores(b *testing.B) {
	for _, place := range places {
		b.Run(place.name, func(b *testing.B) { measureOperations(b, place.name, place.path, contenders(benchEntries)) })
	}
}

// BenchmarkNeighbours measures what it costs when there is another database in the process, in which as much, or three
// times as much, was stored later.
func BenchmarkNeighbours(b *testing.B) {
	file := places[1].path
	alone := slices.DeleteFunc(contenders(benchEntries), func(c contender) bool { return c.name != "appcache" && c.name != "SELECT" })
	measureOperations(b, "neighbours", file, append(alone, neighbours(benchEntries)...))
}

func measureOperations(b *testing.B, name string, place func(testing.TB) string, contenders []contender) {
	b.Helper()
	workers := make([]*worker, len(contenders))
	for i, c := range contenders {
		if c.noPlace != name {
			workers[i] = hire(b, job{Contender: c.name, Place: place(b), MaxSize: benchEntries, Entries: benchEntries, ValueBytes: 1024})
		}
	}
	for _, op := range operations {
		group := report.Group{Name: name + "/" + op.name, Goroutines: op.goroutines, Batch: turn(op.goroutines)}
		for i, c := range contenders {
			if workers[i] != nil && (op.all || c.evicts) {
				group.Candidates = append(group.Candidates, workers[i].candidate(c.name, op.name))
			}
		}
		b.Run(op.name, func(b *testing.B) { measured.Measure(b, group) })
	}
}

// sizes are the numbers of entries, of 100 bytes, for which BenchmarkSizes measures. The naive one isn't
// measured beyond the third, as it would take minutes.
var sizes = []int{1_000, 10_000, 100_000, 1_000_000}

const naiveLargest = 100_000

// BenchmarkSizes measures what the operations cost as the cache grows, and how much memory it takes. A plain SELECT on a table that stays
// the same takes its turns with them, so that sizes can be compared although they follow one another.
func BenchmarkSizes(b *testing.B) {
	for _, place := range places {
		start := func(b *testing.B, contender, path string, n int) *worker {
			b.Helper()
			return hire(b, job{Contender: contender, Place: path, MaxSize: n, Entries: n, ValueBytes: 100})
		}
		reference := start(b, "SELECT", "", 10_000).candidate("reference", "Get")
		for _, n := range sizes {
			if n > *largest {
				continue
			}
			b.Run(fmt.Sprintf("%s/%d", place.name, n), func(b *testing.B) {
				path := place.path(b)
				ours := start(b, "appcache", path, n)
				var naive *worker
				if n <= naiveLargest {
					naive = start(b, "naive", place.path(b), n)
				}
				for _, op := range operations {
					if op.goroutines > 1 {
						continue
					}
					group := report.Group{Name: fmt.Sprintf("%s/%d/%s", place.name, n, op.name), Batch: turn(1)}
					group.Candidates = append(group.Candidates, reference, ours.candidate("appcache", op.name))
					if naive != nil {
						group.Candidates = append(group.Candidates, naive.candidate("naive", op.name))
					}
					b.Run(op.name, func(b *testing.B) { measured.Measure(b, group) })
				}
				average(b, fmt.Sprintf("%s/%d/%s", place.name, n, onAverage), max(1000, n/8), reference, ours.candidate("appcache", newKey))
				if path == "" {
					return
				}
				used := ours.resident(b)
				ours.leave(b)
				measured.Add(fmt.Sprintf("file/%d/memory", n), []report.Samples{
					{Name: "empty", Bytes: []float64{residentOnceOpen(b, place.path(b), n)}},
					{Name: "opened", Bytes: []float64{residentOnceOpen(b, path, n)}},
					{Name: "in use", Bytes: []float64{used}},
				})
				b.Run("Open", func(b *testing.B) {
					measured.Measure(b, report.Group{Name: fmt.Sprintf("file/%d/Open", n), Batch: turn(1), Candidates: []report.Candidate{
						reference,
						{Name: "appcache", Run: func() error {
							backend, err := sqlitelru.Open(path, &sqlitelru.Options{MaxSize: n})
							if err != nil {
								return err
							}
							return backend.Close()
						}},
					}})
				})
				giveBack(b, path, n)
			})
		}
	}
}

const onAverage = "new key, on average"

// average measures n new keys in a row, so many that what is done once in many evictions is among them, which a median
// doesn't show.
func average(b *testing.B, group string, n int, reference, ours report.Candidate) {
	b.Helper()
	took := func(n int, c report.Candidate) float64 {
		turn, err := c.Turn(1, n)
		require.NoError(b, err)
		return float64(turn.Took) / float64(n)
	}
	before := took(10_000, reference)
	average := took(n, ours)
	after := took(10_000, reference)
	measured.Add(group, []report.Samples{
		{Name: "reference", NS: []float64{(before + after) / 2}},
		{Name: "appcache", NS: []float64{average}},
	})
}

// small is the size of a file, in bytes, that has given its room back.
const small = 2 << 20

// giveBack clears a file and counts the Sets until it is small.
func giveBack(b *testing.B, path string, n int) {
	b.Helper()
	size := func() float64 {
		info, err := os.Stat(path)
		require.NoError(b, err)
		return float64(info.Size())
	}
	backend, err := sqlitelru.Open(path, &sqlitelru.Options{MaxSize: n})
	require.NoError(b, err)
	before := size()
	begin := time.Now()
	require.NoError(b, backend.Clear(b.Context()))
	cleared := time.Since(begin)
	longest, sets := time.Duration(0), 0
	for ; size() > small; sets++ {
		require.Less(b, sets, n)
		begin := time.Now()
		require.NoError(b, backend.SetRaw(b.Context(), sqlite.Key(sets), make([]byte, 100), benchTTL))
		longest = max(longest, time.Since(begin))
	}
	require.NoError(b, backend.Close())
	measured.Add(fmt.Sprintf("file/%d/clear", n), []report.Samples{
		{Name: "before", Bytes: []float64{before}},
		{Name: "Clear", NS: []float64{float64(cleared)}},
		{Name: "longest", NS: []float64{float64(longest)}},
		{Name: "Sets", NS: []float64{float64(sets)}},
	})
}

// residentOnceOpen returns how much memory a process has that has done nothing but open a file.
func residentOnceOpen(b *testing.B, path string, maxSize int) float64 {
	b.Helper()
	w := hire(b, job{Contender: "appcache", Place: path, MaxSize: maxSize})
	defer w.leave(b)
	return w.resident(b)
}

const docs = "../../docs"

// writeDocs writes the tables and the plots.
func writeDocs(machine string) error {
	text := fmt.Sprintf("%s\nMedians of %d rounds.\n\n%s\n%s\n%s\n%s\n%s\n%s", machine, measured.Rounds(), timesTable(), selectTable(), neighboursTable(), sizesTable(), memoryTable(), clearTable())
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

// operationsTable is a table with a column for each operation.
func operationsTable(what string) report.Table {
	table := report.Table{Head: []string{what}}
	for _, op := range operations {
		table.Head = append(table.Head, op.name)
	}
	return table
}

// operationsRow has what each operation of a candidate takes, and what ratio says of that and of what it takes another.
func operationsRow(name, group, candidate, other string, ratio func(ns, others []float64) string) []string {
	row := []string{name}
	for _, op := range operations {
		s, o := measured.Of(group+"/"+op.name, candidate), measured.Of(group+"/"+op.name, other)
		if s == nil {
			row = append(row, "–")
			continue
		}
		row = append(row, fmt.Sprintf("%s (%s)", report.Duration(report.Median(s.NS)), ratio(s.NS, o.NS)))
	}
	return row
}

// timesTable has what an operation takes, and how many times faster than the naive one that is.
func timesTable() string {
	table := operationsTable("10,000 entries of 1 KiB")
	for _, place := range places {
		for _, c := range contenders(0) {
			if c.noPlace != place.name {
				table.Add(operationsRow(placeName(place.name)+": "+c.name, place.name, c.name, "naive", func(ns, naive []float64) string {
					return report.Ratio(report.Median(report.Ratios(naive, ns))) + "×"
				})...)
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

// neighboursTable has what an operation takes beside another database in the process, and that as a multiple of what
// it takes without.
func neighboursTable() string {
	table := operationsTable("on a file, 10,000 entries of 1 KiB")
	for _, c := range neighbours(0) {
		alone, _, _ := strings.Cut(c.name, ",")
		table.Add(operationsRow(c.name, "neighbours", c.name, alone, func(ns, alone []float64) string {
			return report.Ratio(report.Median(report.Ratios(ns, alone)))
		})...)
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
	table := tableOfSizes("entries of 100 bytes")
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

// tableOfSizes is a table with a column for each number of entries.
func tableOfSizes(what string) report.Table {
	table := report.Table{Head: []string{what}}
	for _, n := range sizes {
		table.Head = append(table.Head, fmt.Sprint(n))
	}
	return table
}

// memoryTable has how much more memory a process has that has opened a file than one that has opened an empty one.
func memoryTable() string {
	table := tableOfSizes("on a file, entries of 100 bytes: memory")
	for _, when := range []string{"opened", "in use"} {
		row := []string{when}
		for _, n := range sizes {
			group := fmt.Sprintf("file/%d/memory", n)
			s, empty := measured.Of(group, when), measured.Of(group, "empty")
			if s == nil || s.Bytes[0] == 0 {
				row = append(row, "–")
				continue
			}
			row = append(row, fmt.Sprintf("%.1f MB", (s.Bytes[0]-empty.Bytes[0])/1e6))
		}
		table.Add(row...)
	}
	return table.String()
}

// clearTable has what it takes until a file is small again. It is measured once.
func clearTable() string {
	table := tableOfSizes("on a file, entries of 100 bytes: Clear")
	rows := []struct{ name, text string }{
		{"before", "the file before it"},
		{"Clear", "Clear"},
		{"Sets", "Sets after it, until the file has less than 2 MiB"},
		{"longest", "the longest of them"},
	}
	for _, r := range rows {
		row := []string{r.text}
		for _, n := range sizes {
			s := measured.Of(fmt.Sprintf("file/%d/clear", n), r.name)
			switch {
			case s == nil:
				row = append(row, "–")
			case r.name == "before":
				row = append(row, fmt.Sprintf("%.1f MB", s.Bytes[0]/1e6))
			case r.name == "Sets":
				row = append(row, fmt.Sprint(s.NS[0]))
			case s.NS[0] == 0:
				row = append(row, "–")
			default:
				row = append(row, report.Duration(s.NS[0]))
			}
		}
		table.Add(row...)
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
