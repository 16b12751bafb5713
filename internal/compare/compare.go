// Package compare measures candidates side by side, in turns, so that whatever else the machine does
// hits them all, and reports ratios.
package compare

import (
	"slices"
	"testing"
	"time"
)

// Candidate is one of several ways to do the same.
type Candidate struct {
	Name string
	Run  func() error
}

// Interleaved runs the candidates in turns, each batch times in a row, and reports the ratio of each
// one's median time to that of the first, which is 1.00 where there is no difference. Batches make up
// for the clock where a run takes less than some microseconds. An error fails b.
func Interleaved(b *testing.B, batch int, candidates []Candidate) {
	b.Helper()
	times := make([][]time.Duration, len(candidates))
	for n := 0; b.Loop(); n++ {
		for i := range candidates {
			i = (i + n) % len(candidates) // none always goes first
			begin := time.Now()
			for range batch {
				if err := candidates[i].Run(); err != nil {
					b.Fatalf("%s: %v", candidates[i].Name, err)
				}
			}
			times[i] = append(times[i], time.Since(begin))
		}
	}
	median := func(i int) float64 {
		slices.Sort(times[i])
		return float64(times[i][len(times[i])/2]) / float64(batch)
	}
	first := median(0)
	for i, c := range candidates {
		b.ReportMetric(median(i), c.Name+"-ns")
		if i > 0 {
			b.ReportMetric(median(i)/first, c.Name+"/"+candidates[0].Name)
		}
	}
	b.ReportMetric(0, "ns/op") // of all of them together: it says nothing
}
