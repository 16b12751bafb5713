package peers_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goappcache/appcache/benchmarks/internal/report"
)

const docs = "../../docs"

// form is what the files and the section of this form of the benchmarks are named after.
func form() string {
	if testing.Short() {
		return "peers-short"
	}
	return "peers"
}

func machine(ctx context.Context) (string, error) {
	return report.Machine(ctx, *write, []string{
		"github.com/redis/go-redis/v9", "github.com/go-redis/cache/v9", "github.com/eko/gocache/lib/v4",
		"github.com/redis/rueidis/rueidisaside", "github.com/bradfitz/gomemcache", "golang.org/x/sync",
		"github.com/viccon/sturdyc", "github.com/maypok86/otter/v2", "github.com/vmihailenco/msgpack/v5", "github.com/klauspost/compress",
	}, "redis-server --version", "memcached --version")
}

// writeDocs writes the tables and the plots.
func writeDocs(text string) error {
	text += fmt.Sprintf("\nMedians of %d rounds. %s\n", measured.Rounds(), noise())
	for _, store := range stores {
		text += "\n" + timeTable(store) + "\n" + allocTable(store)
	}
	text += "\n" + frontEndTable()
	if !testing.Short() {
		text += "\n" + stormTable() + "\n" + codecTable() + "\n" + compressorTable()
	}
	fmt.Println(text)
	if err := report.Write(filepath.Join(docs, "benchmarks.md"), form(), text); err != nil {
		return err
	}
	for _, store := range stores {
		svg := report.BarPlot("Time on "+store+", as a multiple of the bare client's, one goroutine", bars(store))
		if err := os.WriteFile(filepath.Join(docs, form()+"-"+store+".svg"), []byte(svg), 0o644); err != nil { //nolint:gosec // it is to be read
			return err
		}
	}
	return nil
}

// row is a group of measured that is one of a store's.
type row struct {
	name, kind, op, goroutines string
}

func rows(store string) []row {
	var list []row
	for _, name := range measured.Groups() {
		if parts := strings.Split(name, "/"); parts[0] == store {
			list = append(list, row{name, parts[1], parts[2], parts[3]})
		}
	}
	return list
}

// columns are the candidates of a store, but the bare client.
func columns(store string) []string {
	var names []string
	seen := map[string]bool{bare: true}
	for _, r := range rows(store) {
		for _, s := range measured.Group(r.name) {
			if !seen[s.Name] {
				seen[s.Name] = true
				names = append(names, s.Name)
			}
		}
	}
	return names
}

// noise says how far the bare client is from itself.
func noise() string {
	var all []float64
	for _, store := range stores {
		for _, r := range rows(store) {
			if other := measured.Of(r.name, again); other != nil {
				all = append(all, report.Median(report.Ratios(other.NS, measured.Of(r.name, bare).NS)))
			}
		}
	}
	low, high := report.Spread(all)
	return fmt.Sprintf("The noise: measured a second time in each row, the bare client takes %s to %s of its own time in half of "+
		"the rows; the column has each one's.", report.Ratio(low), report.Ratio(high))
}

func timeTable(store string) string {
	table := report.Table{Head: append([]string{store + ": time", "goroutines", bare}, columns(store)...)}
	for _, r := range rows(store) {
		base := measured.Of(r.name, bare)
		cells := []string{r.kind + ": " + r.op, r.goroutines, report.Duration(report.Median(base.NS))}
		for _, name := range columns(store) {
			cells = append(cells, times(measured.Of(r.name, name), base))
		}
		table.Add(cells...)
	}
	return table.String()
}

// times writes how many times as long as base s takes, and between what the middle half of the rounds was.
func times(s, base *report.Samples) string {
	if s == nil {
		return "–"
	}
	ratios := report.Ratios(s.NS, base.NS)
	low, high := report.Spread(ratios)
	return fmt.Sprintf("%s (%s to %s)", report.Ratio(report.Median(ratios)), report.Ratio(low), report.Ratio(high))
}

func allocTable(store string) string {
	table := report.Table{Head: append([]string{store + ": allocations, bytes", bare}, columns(store)...)}
	for _, r := range rows(store) {
		if r.goroutines != "1" {
			continue
		}
		cells := []string{r.kind + ": " + r.op, allocs(measured.Of(r.name, bare))}
		for _, name := range columns(store) {
			cells = append(cells, allocs(measured.Of(r.name, name)))
		}
		table.Add(cells...)
	}
	return table.String()
}

func allocs(s *report.Samples) string {
	if s == nil {
		return "–"
	}
	return fmt.Sprintf("%.0f, %.0f", report.Median(s.Allocs), report.Median(s.Bytes))
}

func frontEndTable() string {
	table := report.Table{Head: []string{"over a backend in memory", "time", "times the first", "allocations, bytes"}}
	for _, name := range frontEnd {
		group := measured.Group(name)
		for _, s := range group {
			table.Add(name+": "+s.Name, report.Duration(report.Median(s.NS)), times(&s, &group[0]), allocs(&s))
		}
	}
	return table.String()
}

func stormTable() string {
	table := report.Table{Head: []string{"64 callers of an absent key, whose load takes 1 ms", "time", "loads", "allocations, bytes"}}
	for _, s := range measured.Group("storm") {
		count := storms[s.Name]
		table.Add(s.Name, report.Duration(report.Median(s.NS)), report.Ratio(float64(count.loads.Load())/float64(count.storms.Load())), allocs(&s))
	}
	return table.String()
}

func codecTable() string {
	table := report.Table{Head: []string{"codec", "encode", "times CBOR", "allocations, bytes", "decode", "times CBOR", "allocations, bytes", "encoded bytes"}}
	for _, what := range codecRows {
		for _, c := range codecs {
			table.Add(append([]string{what + ": " + c.name}, twoWays(what, c.name, codecs[0].name, "encode", "decode")...)...)
		}
	}
	return table.String()
}

func compressorTable() string {
	table := report.Table{Head: []string{"compressor", "compress", "times Gzip", "allocations, bytes", "decompress", "times Gzip", "allocations, bytes", "compressed bytes"}}
	for _, what := range compressorRows {
		for _, name := range compressors {
			table.Add(append([]string{what + ": " + name}, twoWays(what, name, compressors[0], "compress", "decompress")...)...)
		}
	}
	return table.String()
}

// twoWays has what a codec or compressor takes there and back, and what comes of it.
func twoWays(what, name, base string, ways ...string) []string {
	var cells []string
	for _, way := range ways {
		s := measured.Of(what+"/"+way, name)
		ratio := report.Median(report.Ratios(s.NS, measured.Of(what+"/"+way, base).NS))
		cells = append(cells, report.Duration(report.Median(s.NS)), report.Ratio(ratio), allocs(s))
	}
	return append(cells, fmt.Sprint(sizes[what+"/"+name]))
}

// askNoServer are those caches whose hits are in the memory of the process.
var askNoServer = []string{"sturdyc", "otter", "rueidisaside"}

// bars are the ratios of a store with one goroutine, but for those caches that ask no server.
func bars(store string) []report.Bars {
	var list []report.Bars
	for _, r := range rows(store) {
		if r.goroutines != "1" || strings.HasSuffix(r.kind, "compressed") {
			continue
		}
		group := report.Bars{Name: r.kind + ": " + r.op}
		base := measured.Of(r.name, bare)
		for _, s := range measured.Group(r.name) {
			if s.Name != bare && !slices.Contains(askNoServer, s.Name) {
				group.Names = append(group.Names, s.Name)
				group.Values = append(group.Values, report.Median(report.Ratios(s.NS, base.NS)))
			}
		}
		list = append(list, group)
	}
	return list
}
