package cachetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

// Without faults it is a backend like any other.
func TestFaultyWithoutFaults(t *testing.T) {
	t.Parallel()
	cachetest.TestBackend(t, cachetest.Harness{New: func(testing.TB) appcache.RawBackend {
		return &cachetest.Faulty{Backend: cachetest.NewMemory()}
	}})
}

// Each fault does to each method what its comment says.
func TestFaults(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	// What is found of "old" under "k" after a call, and a minute later; "" is a miss.
	type outcome struct {
		err         error
		took        time.Duration
		then, later string
	}
	same := outcome{then: "old!", later: "old!"}
	for _, c := range []struct {
		name  string
		fault cachetest.Fault
		get   string // what GetRaw returns
		read  outcome
		set   outcome
		inv   outcome
	}{
		{"None", cachetest.None, "old!", same, outcome{then: "newer!", later: "newer!"}, outcome{}},
		{"Refuse", cachetest.Refuse, "", outcome{down, 0, "old!", "old!"}, outcome{down, 0, "old!", "old!"}, outcome{down, 0, "old!", "old!"}},
		{"DropReply", cachetest.DropReply, "", outcome{down, 0, "old!", "old!"}, outcome{down, 0, "newer!", "newer!"}, outcome{err: down}},
		{
			"Slow", cachetest.Slow, "old!", outcome{nil, time.Second, "old!", "old!"}, outcome{nil, time.Second, "newer!", "newer!"},
			outcome{took: time.Second},
		},
		{
			"Hang", cachetest.Hang, "", outcome{context.DeadlineExceeded, 5 * time.Second, "old!", "old!"},
			outcome{context.DeadlineExceeded, 5 * time.Second, "old!", "old!"}, outcome{context.DeadlineExceeded, 5 * time.Second, "old!", "old!"},
		},
		{"DropWrite", cachetest.DropWrite, "", same, same, same},
		{"LateWrite", cachetest.LateWrite, "old!", same, outcome{down, 0, "old!", "newer!"}, outcome{down, 0, "old!", ""}},
		{"Truncate", cachetest.Truncate, "ol", same, outcome{then: "new", later: "new"}, outcome{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for method, call := range map[string]struct {
				want outcome
				do   func(ctx context.Context, f *cachetest.Faulty) error
			}{
				"GetRaw": {c.read, func(ctx context.Context, f *cachetest.Faulty) error {
					got, want := "", c.get
					if ctx.Err() != nil {
						want = ""
					}
					value, found, err := f.GetRaw(ctx, "k")
					if found {
						got = string(value)
					}
					require.Equal(t, want, got)
					return err
				}},
				"SetRaw": {c.set, func(ctx context.Context, f *cachetest.Faulty) error {
					value := []byte("newer!")
					defer clear(value) // the caller's own again, also before a late write
					return f.SetRaw(ctx, "k", value, 0)
				}},
				"InvalidateRaw": {c.inv, func(ctx context.Context, f *cachetest.Faulty) error { return f.InvalidateRaw(ctx, "k") }},
				"Clear":         {c.inv, func(ctx context.Context, f *cachetest.Faulty) error { return f.Clear(ctx) }},
			} {
				synctest.Test(t, func(t *testing.T) {
					b := cachetest.NewMemory()
					require.NoError(t, b.SetRaw(t.Context(), "k", []byte("old!"), 0))
					var asked string
					f := &cachetest.Faulty{Backend: b, Err: down, Delay: time.Second, Choose: func(method, key string) cachetest.Fault {
						asked = method + key
						return c.fault
					}}
					found := func() string {
						value, _, err := b.GetRaw(t.Context(), "k")
						require.NoError(t, err)
						return string(value)
					}
					start := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					defer cancel()
					got := outcome{err: call.do(ctx, f)}
					got.took, got.then = time.Since(start), found()
					cancel() // a late write doesn't mind
					f.Wait()
					got.later = found()
					require.Equal(t, call.want, got, method)
					if method != "Clear" {
						method += "k"
					}
					require.Equal(t, method, asked)

					done, end := context.WithCancel(t.Context())
					end()
					require.ErrorIs(t, call.do(done, f), context.Canceled)
					f.Wait()
					require.Equal(t, got.later, found(), "the context was done")
				})
			}
		})
	}
}

func TestSlowEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := cachetest.NewMemory()
		f := &cachetest.Faulty{Backend: b, Delay: time.Hour, Choose: cachetest.InTurn(cachetest.Slow)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, f.SetRaw(ctx, "k", []byte("v"), 0), context.DeadlineExceeded)
		_, found, err := f.GetRaw(t.Context(), "k")
		require.NoError(t, err)
		require.False(t, found)
	})
}

func TestFaultsInTurn(t *testing.T) {
	t.Parallel()
	f := &cachetest.Faulty{Backend: cachetest.NewMemory(), Choose: cachetest.InTurn(cachetest.None, cachetest.Refuse, cachetest.DropWrite)}
	require.NoError(t, f.SetRaw(t.Context(), "k", []byte("v"), 0))
	require.ErrorIs(t, f.SetRaw(t.Context(), "k", []byte("w"), 0), cachetest.ErrFault)
	require.NoError(t, f.InvalidateRaw(t.Context(), "k"))
	for range 10 {
		value, _, err := f.GetRaw(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "v", string(value))
	}
}

// The same seed gives the same faults, and about as many of each as the rates say.
func TestFaultsAtRandom(t *testing.T) {
	t.Parallel()
	rates := map[cachetest.Fault]float64{cachetest.Refuse: 0.1, cachetest.Hang: 0.2, cachetest.Truncate: 0.3}
	draw := func(seed uint64) (faults [10000]cachetest.Fault) {
		choose := cachetest.AtRandom(seed, rates)
		for i := range faults {
			faults[i] = choose("GetRaw", "k")
		}
		return faults
	}
	one := draw(1)
	require.Equal(t, one, draw(1))
	require.NotEqual(t, one, draw(2))
	count := map[cachetest.Fault]float64{}
	for _, fault := range one {
		count[fault]++
	}
	require.Len(t, count, 4)
	for fault, rate := range rates {
		require.InDelta(t, 10000*rate, count[fault], 300, "five standard deviations and more")
	}
}
