// Package report measures candidates side by side and writes what it finds into the documentation.
//
// What counts are ratios: the candidates of a group take turns, and the ratio of two is the median of their
// ratios within each round, so that whatever else the machine does hits them alike.
package report

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Candidate is one of several ways to do the same.
type Candidate struct {
	Name string
	Run  func() error // one operation; of several goroutines at a time, where there are

	// Turn runs n operations in each of so many goroutines, in place of Run and RunTurn. It is for what runs in a
	// process of its own.
	Turn func(goroutines, n int) (Turn, error)
}

// Turn is what all the operations of a turn took together.
type Turn struct {
	Took          time.Duration
	Bytes, Allocs uint64 // of the whole process
}

// Group is what is measured side by side. The other candidates are compared with the first.
type Group struct {
	Name       string
	Goroutines int           // that run a candidate at a time; 0: one
	Batch      time.Duration // how long one turn of a candidate takes, at least; 0: 5 ms
	Candidates []Candidate
}

// Samples is what was measured of a candidate, one value for each round, the rounds of all candidates of the
// group in the same order.
type Samples struct {
	Name   string
	NS     []float64 // of an operation
	Bytes  []float64 // allocated in an operation
	Allocs []float64 // made in an operation
}

// maxTries is how often a turn is tried in which an operation fails.
const maxTries = 3

// Measure runs the candidates in turns, for as many rounds as -benchtime says ("20x"), and keeps what it
// finds in r. A turn with an error is repeated; one that goes on having some fails b.
func (r *Report) Measure(b *testing.B, g Group) {
	b.Helper()
	if g.Goroutines == 0 {
		g.Goroutines = 1
	}
	if g.Batch == 0 {
		g.Batch = 5 * time.Millisecond
	}
	samples := make([]Samples, len(g.Candidates))
	batches := make([]int, len(g.Candidates))
	for i, c := range g.Candidates {
		samples[i].Name = c.Name
		batches[i] = batch(b, g, c)
	}
	for b.Loop() {
		for _, i := range rand.Perm(len(g.Candidates)) { // none always goes first, or after the same one
			var turn Turn
			for try := 1; ; try++ { // one timeout on a busy machine isn't to be the end of half an hour
				var err error
				if turn, err = run(g, g.Candidates[i], batches[i]); err == nil {
					break
				}
				b.Logf("%s: %s, try %d: %v", g.Name, g.Candidates[i].Name, try, err)
				if try == maxTries {
					b.FailNow()
				}
			}
			ops := float64(batches[i] * g.Goroutines)
			s := &samples[i]
			s.NS = append(s.NS, float64(turn.Took)/ops)
			s.Bytes = append(s.Bytes, float64(turn.Bytes)/ops)
			s.Allocs = append(s.Allocs, float64(turn.Allocs)/ops)
		}
	}
	for i, s := range samples {
		name := func(s Samples) string { return strings.ReplaceAll(s.Name, " ", "_") } // units have no space
		b.ReportMetric(Median(s.NS), name(s)+"-ns")
		if i > 0 {
			b.ReportMetric(Median(Ratios(s.NS, samples[0].NS)), name(s)+"/"+name(samples[0]))
		}
	}
	b.ReportMetric(0, "ns/op") // of all of them together: it says nothing
	r.Add(g.Name, samples)
}

// batch returns how often a goroutine has to run c until that takes as long as it should.
func batch(b *testing.B, g Group, c Candidate) int {
	b.Helper()
	_, err := run(g, c, 1) // the first time is never the usual one
	for n := 1; err == nil; n *= 4 {
		var turn Turn
		if turn, err = run(g, c, n); err == nil && (turn.Took >= g.Batch/4 || n > 1<<24) {
			return max(1, int(float64(n)*float64(g.Batch)/float64(turn.Took)))
		}
	}
	b.Fatalf("%s: %s: %v", g.Name, c.Name, err)
	return 0
}

// run gives c a turn, with n operations in each goroutine.
func run(g Group, c Candidate, n int) (Turn, error) {
	if c.Turn != nil {
		return c.Turn(g.Goroutines, n)
	}
	return RunTurn(c.Run, g.Goroutines, n)
}

// RunTurn runs an operation n times in each of so many goroutines.
func RunTurn(op func() error, goroutines, n int) (Turn, error) {
	repeat := func() error {
		for range n {
			if err := op(); err != nil {
				return err
			}
		}
		return nil
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	var err error
	if goroutines == 1 {
		err = repeat()
	} else {
		errs := make([]error, goroutines)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = repeat() })
		}
		wg.Wait()
		err = errors.Join(errs...)
	}
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	return Turn{Took: took, Bytes: after.TotalAlloc - before.TotalAlloc, Allocs: after.Mallocs - before.Mallocs}, err
}

// Ratios divides a by b, round by round.
func Ratios(a, b []float64) []float64 {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
	}
	return ratios
}

// Median returns the value in the middle, and 0 of none.
func Median(values []float64) float64 { return quantile(values, 0.5) }

// Spread returns between which values the middle half lies.
func Spread(values []float64) (low, high float64) {
	return quantile(values, 0.25), quantile(values, 0.75)
}

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below == len(sorted)-1 {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}
