package cachetest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

// server is a good backend, whose store can be ended and halted and takes values up to maxValue.
type server struct {
	store cachetest.Memory

	mu       sync.Mutex
	down     bool
	restarts int
	halted   chan struct{} // closed when the store goes on; nil: it isn't halted
}

func (s *server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
}

func (s *server) Up() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
	s.restarts++
}

func (s *server) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

func (s *server) Hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halted = make(chan struct{})
}

func (s *server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.halted)
	s.halted = nil
}

// call does what the store does with a call: refuse it, do it, or, when it is halted, do it later,
// whether the caller still waits for it or not.
func (s *server) call(ctx context.Context, f func(ctx context.Context) error) error {
	s.mu.Lock()
	down, halted := s.down, s.halted
	s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case down:
		return fmt.Errorf("dialling: %w", errDown)
	case halted == nil:
		return f(ctx)
	}
	done := make(chan error, 1)
	go func() {
		<-halted
		done <- f(context.WithoutCancel(ctx))
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		return err
	}
}

func (s *server) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	type answer struct {
		value []byte
		found bool
	}
	answers := make(chan answer, 1) // nobody else sees what comes after the caller has left
	err := s.call(ctx, func(ctx context.Context) error {
		value, found, err := s.store.GetRaw(ctx, key)
		answers <- answer{value, found}
		return err
	})
	if err != nil {
		return nil, false, err
	}
	a := <-answers
	return a.value, a.found, nil
}

func (s *server) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(value) > maxValue {
		return fmt.Errorf("%d bytes: %w", len(value), appcache.ErrTooLarge)
	}
	value = slices.Clone(value) // for the store that does it later
	return s.call(ctx, func(ctx context.Context) error { return s.store.SetRaw(ctx, key, value, ttl) })
}

func (s *server) InvalidateRaw(ctx context.Context, key string) error {
	return s.call(ctx, func(ctx context.Context) error { return s.store.InvalidateRaw(ctx, key) })
}

func (s *server) Clear(ctx context.Context) error {
	return s.call(ctx, func(ctx context.Context) error { return s.store.Clear(ctx) })
}

// harness is for what wrap makes of a server.
func harness(wrap func(appcache.RawBackend) appcache.RawBackend) cachetest.Harness {
	return cachetest.Harness{
		New:      func(testing.TB) appcache.RawBackend { return wrap(&server{}) },
		MaxValue: maxValue,
		Outage: func(testing.TB) (b appcache.RawBackend, down, up func()) {
			s := &server{}
			return wrap(s), s.Down, s.Up
		},
		Hang: func(testing.TB) (b appcache.RawBackend, hang, resume func()) {
			s := &server{}
			return wrap(s), s.Hang, s.Resume
		},
	}
}

func asItIs(b appcache.RawBackend) appcache.RawBackend { return b }

func TestGoodBackendPasses(t *testing.T) {
	t.Parallel()
	cachetest.TestBackend(t, harness(func(good appcache.RawBackend) appcache.RawBackend {
		return &wrapper{RawBackend: good}
	}))
}

// A store whose clock ticks in seconds passes when the harness says so.
func TestLateBackendPasses(t *testing.T) {
	t.Parallel()
	h := harness(withTTLs(func(ttl time.Duration) time.Duration {
		if ttl > 0 && ttl < time.Hour {
			return (ttl + time.Second - 1).Truncate(time.Second) + time.Second
		}
		return ttl
	}))
	require.Contains(t, failures(t, h, false), "TTL")
	h.Late = 2 * time.Second
	require.Empty(t, failures(t, h, false))
}

func TestBrokenBackendsFail(t *testing.T) {
	t.Parallel()
	all := slices.Concat(brokenValues, brokenKeys, brokenTTLs, brokenRemoval, brokenCalls)
	seen := map[string]bool{}
	for _, b := range all {
		for _, name := range b.fails {
			seen[name] = true
		}
	}
	for _, c := range cachetest.Cases(harness(asItIs)) {
		require.True(t, seen[c.Name()], "no broken backend fails the case %q", c.Name())
	}
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			failed := failures(t, harness(b.wrap), b.shares)
			if b.others {
				require.Subset(t, failed, b.fails)
			} else {
				require.ElementsMatch(t, b.fails, failed)
			}
		})
	}
}

// A harness that makes no backend is told which field is wrong.
func TestNoBackend(t *testing.T) {
	t.Parallel()
	none := func(testing.TB) (b appcache.RawBackend, _, _ func()) { return nil, nil, nil }
	h := cachetest.Harness{New: func(testing.TB) appcache.RawBackend { return nil }, Outage: none, Hang: none}
	for _, c := range cachetest.Cases(h) {
		r := &recorder{TB: t}
		r.run(func() { c.Test(r, h) })
		require.True(t, r.Failed(), c.Name())
		require.Regexp(t, "^Harness.(New|Outage|Hang) returned no backend", r.log.String())
	}
}

// failures runs the cases with a clock of their own, and returns the names of those that failed.
// Each must have told the rule.
func failures(t *testing.T, h cachetest.Harness, sharesMemory bool) []string {
	t.Helper()
	var failed []string
	synctest.Test(t, func(t *testing.T) {
		for _, c := range cachetest.Cases(h) {
			if sharesMemory && slices.Contains([]string{"concurrent use", "written is visible at once", "context cancelled during the call"}, c.Name()) {
				continue
			}
			r := &recorder{TB: t}
			r.run(func() { c.Test(r, h) })
			if r.Failed() {
				failed = append(failed, c.Name())
				t.Logf("%s:\n%s", c.Name(), r.log.String())
				require.Contains(t, r.log.String(), c.Rule())
			}
		}
	})
	return failed
}

// recorder is a testing.TB that keeps what is reported to it.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	log      strings.Builder
	failed   bool
	cleanups []func()
}

// run calls f as the testing package calls a test: in a goroutine, which FailNow ends.
func (r *recorder) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, cleanup := range slices.Backward(r.cleanups) {
				cleanup()
			}
		}()
		f()
	}()
	<-done
}

func (r *recorder) report(fail bool, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = r.failed || fail
	fmt.Fprintln(&r.log, message)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Helper()                           {}
func (r *recorder) Cleanup(f func())                  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Logf(format string, args ...any)   { r.report(false, fmt.Sprintf(format, args...)) }
func (r *recorder) Error(args ...any)                 { r.report(true, fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.report(true, fmt.Sprintf(format, args...)) }

func (r *recorder) Fatal(args ...any) {
	r.report(true, fmt.Sprint(args...))
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.report(true, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// A map without a lock ends the process, or is a report of the race detector, so it is tried in
// another process.
func TestRacyBackendFails(t *testing.T) {
	const variable = "CACHETEST_RACY"
	if os.Getenv(variable) != "" {
		cachetest.TestBackend(t, cachetest.Harness{
			New: func(testing.TB) appcache.RawBackend { return racy{} },
		})
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRacyBackendFails$/^concurrent_use$")
	cmd.Env = append(os.Environ(), variable+"=1")
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Regexp(t, "DATA RACE|concurrent map|never stored", string(output))
}

// racy is a map without a lock.
type racy map[string][]byte

func (r racy) GetRaw(_ context.Context, key string) ([]byte, bool, error) {
	value, found := r[key]
	return slices.Clone(value), found, nil
}

// SetRaw stores half a value and then all of it, so that others see the half where nothing else
// tells that they race: without -race the runtime seldom does.
func (r racy) SetRaw(_ context.Context, key string, value []byte, _ time.Duration) error {
	r[key] = slices.Clone(value[:len(value)/2])
	runtime.Gosched()
	r[key] = slices.Clone(value)
	return nil
}

func (r racy) InvalidateRaw(_ context.Context, key string) error {
	delete(r, key)
	return nil
}

func (r racy) Clear(context.Context) error {
	clear(r)
	return nil
}
