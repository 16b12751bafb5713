package report_test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/benchmarks/internal/report"
)

func TestMedianAndSpread(t *testing.T) {
	t.Parallel()
	require.Zero(t, report.Median(nil))
	for _, values := range [][]float64{{3}, {4, 2}, {3, 9, 1}, {1, 9, 2, 4}} {
		require.InDelta(t, 3, report.Median(values), 1e-9, "%v", values)
	}
	low, high := report.Spread([]float64{5, 1, 4, 2, 3})
	require.InDelta(t, 2, low, 1e-9)
	require.InDelta(t, 4, high, 1e-9)
	require.Equal(t, []float64{2, 0.5}, report.Ratios([]float64{4, 1, 7}, []float64{2, 2}))
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0.98": report.Ratio(0.981), "12.3": report.Ratio(12.34), "124": report.Ratio(123.6),
		"25 ns": report.Duration(25.2), "1.50 µs": report.Duration(1500), "12.0 ms": report.Duration(12e6), "2.00 s": report.Duration(2e9),
	} {
		require.Equal(t, want, got)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	table := report.Table{Head: []string{"what", "time"}}
	table.Add("Get", "1 ms")
	require.Equal(t, "| what | time |\n| --- | ---: |\n| Get | 1 ms |\n", table.String())
}

// The candidates get the same number of rounds, and what one takes more than the other shows.
func TestMeasure(t *testing.T) {
	t.Parallel()
	var r report.Report
	sleep := func(d time.Duration) func() error {
		return func() error { time.Sleep(d); return nil }
	}
	for range 2 { // as -count does
		testing.Benchmark(func(b *testing.B) {
			r.Measure(b, report.Group{Name: "sleep", Goroutines: 2, Batch: time.Millisecond, Candidates: []report.Candidate{
				{Name: "short", Run: sleep(time.Millisecond)}, {Name: "long", Run: sleep(20 * time.Millisecond)},
			}})
		})
	}
	require.Equal(t, []string{"sleep"}, r.Groups())
	short, long := r.Of("sleep", "short"), r.Of("sleep", "long")
	require.NotEmpty(t, short.NS)
	require.Equal(t, len(short.NS), r.Rounds())
	require.Len(t, long.NS, r.Rounds())
	require.Greater(t, report.Median(report.Ratios(long.NS, short.NS)), 1.0)
	require.Nil(t, r.Of("sleep", "none"))
	require.Nil(t, r.Of("none", "short"))

	failed := testing.Benchmark(func(b *testing.B) {
		r.Measure(b, report.Group{Name: "fails", Candidates: []report.Candidate{
			{Name: "fails", Run: func() error { return errors.New("on purpose") }},
		}})
	})
	require.Zero(t, failed.N)
	require.Nil(t, r.Group("fails"))
}

func TestWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "doc.md")
	const around = "before\n<!-- begin a -->\n%<!-- end a -->\nafter\n"
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(around, "%", "", 1)), 0o600))
	for _, text := range []string{"first\n", "second\n"} {
		require.NoError(t, report.Write(path, "a", text))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, strings.Replace(around, "%", "\n"+text+"\n", 1), string(data))
	}
	require.ErrorContains(t, report.Write(path, "b", "text"), `no section "b"`)
}

func TestMachine(t *testing.T) {
	t.Parallel()
	text, err := report.Machine(t.Context(), "make bench", []string{"github.com/stretchr/testify"}, "go version")
	require.NoError(t, err)
	require.Regexp(t, "^Measured with `make bench` on \\d{4}-\\d\\d-\\d\\d, at commit [0-9a-f]{12}.*, \\d+ cores, .*; go1.*testify v1.*go version go1.*\\.\n$", text)
}

// The plots are XML, hold every name.
func TestPlots(t *testing.T) {
	t.Parallel()
	for _, svg := range []string{
		report.Plot("cost <by size>", "entries", []report.Line{
			{Name: "a & b", X: []float64{1000, 10000, 1000000}, Y: []float64{500, 1500, 2e6}},
			{Name: "one", X: []float64{1000}, Y: []float64{500}, Dashed: true},
		}),
		report.BarPlot("cost <by size>", []report.Bars{{Name: "a & b", Names: []string{"one"}, Values: []float64{1.5}}}),
	} {
		decoder, texts := xml.NewDecoder(strings.NewReader(svg)), ""
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			if text, ok := token.(xml.CharData); ok {
				texts += string(text)
			}
		}
		for _, name := range []string{"cost <by size>", "a & b", "one"} {
			require.Contains(t, texts, name)
		}
		require.NotContains(t, svg, "NaN")
		require.NotContains(t, svg, "Inf")
		require.NotContains(t, svg, `"-`)
	}
}
