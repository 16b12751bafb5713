package sqlitelru_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

// One has the turn at a time, and whoever waits gets it however many others stop waiting.
func TestTurnIsForOne(t *testing.T) {
	t.Parallel()
	const goroutines, each = 16, 2000
	turn := sqlitelru.NewTurn()
	had, counts, done := 0, make(chan int, goroutines), make(chan struct{})
	for range goroutines {
		go func() {
			n := 0
			for range each {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(100))*time.Microsecond)
				if turn.Take(ctx) == nil {
					n++
					had++
					if rand.IntN(100) == 0 {
						time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
					}
					turn.Leave()
				}
				cancel()
			}
			counts <- n
		}()
	}
	go func() {
		defer close(done)
		for range each / 10 {
			if turn.Take(context.Background()) != nil {
				return
			}
			had++
			turn.Leave()
		}
	}()
	want := each / 10
	for range goroutines {
		want += <-counts
	}
	<-done
	require.Equal(t, want, had)
	require.True(t, turn.Try())
}

// It isn't lost when the only one that waits stops just as it is left to them, or given.
func TestTurnOfOneThatStopsWaiting(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"left": false, "given": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				for range 200 {
					turn := sqlitelru.NewTurn()
					require.True(t, turn.Try())
					ctx, cancel := context.WithCancel(t.Context())
					result := make(chan error, 1)
					go func() { result <- turn.Take(ctx) }()
					time.Sleep(time.Second)
					if late {
						turn.Leave()
						if !turn.Try() { // it was quicker
							require.NoError(t, <-result)
							cancel()
							continue
						}
						time.Sleep(time.Second) // in which it sees how late it is
					}
					cancel()
					turn.Leave()
					if <-result != nil {
						require.True(t, turn.Try())
					}
				}
			})
		})
	}
}

// Others get in before those who wait, but not for ever.
func TestTurnComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turn := sqlitelru.NewTurn()
		require.True(t, turn.Try())
		tooLate := 0
		for round := 0; round < 10 || tooLate == 0; round++ {
			require.Less(t, round, 1000, "they needn't ever wait until it is too late")
			waiting := 5
			for range waiting {
				go func() {
					if turn.Take(t.Context()) == nil {
						waiting--
						time.Sleep(time.Millisecond)
						turn.Leave()
					}
				}()
			}
			begin := time.Now()
			for waiting > 0 {
				time.Sleep(time.Millisecond)
				turn.Leave()
				require.NoError(t, turn.Take(t.Context())) // mostly before those who wait have woken
				require.Less(t, time.Since(begin), time.Second)
			}
			if time.Since(begin) > 10*time.Millisecond {
				tooLate++
			}
		}
	})
}

// A turn that was left to one who stopped waiting goes to the next.
func TestTurnGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			turn := sqlitelru.NewTurn()
			require.True(t, turn.Try())
			ctx, cancel := context.WithCancel(t.Context())
			stopped := make(chan error, 1)
			go func() { stopped <- turn.Take(ctx) }()
			synctest.Wait()
			cancel()
			turn.Leave()
			if <-stopped != nil {
				require.True(t, turn.Try())
			}
			next := make(chan error, 1)
			go func() { next <- turn.Take(t.Context()) }()
			synctest.Wait()
			turn.Leave()
			require.NoError(t, <-next)
		}
	})
}

// Others get in first again when nobody waits any more who has waited for too long.
func TestTurnIsQuickAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turn := sqlitelru.NewTurn()
		late, first := false, false
		for round := 0; !first; round++ {
			require.Less(t, round, 1000, "they are all let in in their order")
			require.True(t, turn.Try())
			done := make(chan error)
			go func() { done <- turn.Take(t.Context()) }()
			time.Sleep(time.Second)
			turn.Leave()
			if turn.Try() { // before the one who waits has woken
				first = late
				late = true
				synctest.Wait() // in which it sees how late it is
				turn.Leave()
			}
			require.NoError(t, <-done)
			turn.Leave()
		}
	})
}
