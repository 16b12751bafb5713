package appcache_test

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "draw docs/early-refresh.svg anew")

// The simulation behind docs/early-refresh.md: so many processes ask for one key, each once a second on
// average, at random. The key lives for simTTL, and its load takes simCost.
const (
	simProcesses = 50
	simTTL       = 20 * time.Second
	simCost      = time.Second
	simLives     = 120
)

// process is a backend that is a process's own, over a store that all share: its loads are coalesced
// with none of another's.
type process struct {
	appcache.RawBackend
	_ int
}

// simulate returns how many getter calls there were each time that the entry was loaded anew.
func simulate(t *testing.T, beta float64) (callsPerLife float64) {
	synctest.Test(t, func(t *testing.T) {
		store := cachetest.NewMemory()
		var calls, lives atomic.Int64
		var mu sync.Mutex
		var stored time.Time // when the current life's first load began
		getter := func(context.Context) ([]byte, error) {
			calls.Add(1)
			mu.Lock()
			if time.Since(stored) > simCost { // not one of those that the first one's value comes too late for
				stored = time.Now()
				lives.Add(1)
			}
			mu.Unlock()
			time.Sleep(simCost)
			return []byte("v"), nil
		}
		// The first life begins with nothing stored, when nothing helps; it isn't counted.
		first := appcache.New[[]byte](&process{RawBackend: store}, &appcache.Options{EarlyRefresh: beta})
		requireVia(t, first, "v", simTTL, getter)
		calls.Store(0)
		lives.Store(0)
		together(simProcesses, func(i int) {
			r := rand.New(rand.NewPCG(uint64(i), uint64(beta*10)))
			cache := appcache.New[[]byte](&process{RawBackend: store}, &appcache.Options{EarlyRefresh: beta})
			for lives.Load() < simLives {
				time.Sleep(time.Duration(r.ExpFloat64() * float64(time.Second)))
				if _, err := cache.GetVia(t.Context(), viaKey, simTTL, getter); err != nil {
					t.Error(err)
				}
			}
		})
		callsPerLife = float64(calls.Load()) / float64(lives.Load())
		time.Sleep(time.Hour)
	})
	return callsPerLife
}

// expected returns what the formula says: a process that asks, left before the end, loads with the probability
// exp(-left / (beta * cost)), and all that do so before the first one's value is stored have loaded in vain.
func expected(beta float64) float64 {
	const step = 0.01 // seconds
	ttl, cost := simTTL.Seconds(), simCost.Seconds()
	p := func(at float64) float64 {
		if at >= ttl {
			return 1
		}
		if beta == 0 {
			return 0
		}
		return math.Exp(-(ttl - at) / (beta * cost))
	}
	sum, none := 0.0, 1.0 // none: the probability that nobody has begun yet
	for at := 0.0; none > 1e-9; at += step {
		first := none * (1 - math.Exp(-simProcesses*p(at)*step))
		none -= first
		others := 0.0
		for later := at; later < at+cost; later += step {
			others += p(later) * step
		}
		sum += first * (1 + (simProcesses-1)*(1-math.Exp(-others)))
	}
	return sum
}

// With EarlyRefresh few processes load the key at each of its ends, as the formula says, and without it
// most do. Not in parallel: the loads in the background are limited for all of the process.
func TestEarlyRefreshOfManyProcesses(t *testing.T) {
	var betas, measured, formula []float64
	for _, beta := range []float64{0, 0.5, 1, 2, 4} {
		betas = append(betas, beta)
		measured = append(measured, simulate(t, beta))
		formula = append(formula, expected(beta))
		t.Logf("beta %v: %.2f getter calls, %.2f by the formula", beta, measured[len(measured)-1], formula[len(formula)-1])
		require.InDelta(t, formula[len(formula)-1], measured[len(measured)-1], 1+0.25*formula[len(formula)-1])
	}
	require.Less(t, measured[2], measured[0]/3)
	if *update {
		require.NoError(t, os.WriteFile("docs/early-refresh.svg", []byte(plot(betas, measured, formula)), 0o644)) //nolint:gosec // it is to be read
	}
}

// plot draws bars of what was measured, and a line across each for what the formula says.
func plot(betas, measured, formula []float64) string {
	const width, height, bar, bottom = 480, 260, 50, 220
	scale := 190 / max(measured[0], formula[0])
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	for i, beta := range betas {
		x := 40 + i*85
		fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="%d" height="%.1f" fill="#7aa6c2"/>`+"\n", x, bottom-measured[i]*scale, bar, measured[i]*scale)
		fmt.Fprintf(&b, `<path d="M%d %.1fh%d" stroke="black" stroke-width="2"/>`+"\n", x-5, bottom-formula[i]*scale, bar+10)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f">%.1f</text>`+"\n", x+14, bottom-max(measured[i], formula[i])*scale-6, measured[i])
		label := fmt.Sprint("beta ", beta)
		if beta == 0 {
			label = "off"
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", x+6, bottom+18, label)
	}
	fmt.Fprintf(&b, `<path d="M30 %dH%d" stroke="black"/>`+"\n</svg>\n", bottom, width-10)
	return b.String()
}
