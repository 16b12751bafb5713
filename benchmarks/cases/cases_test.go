package cases_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/benchmarks/internal/report"
	"github.com/goappcache/appcache/internal/testserver"
)

var update = flag.Bool("update", false, "write docs/comparison-cases.md anew")

func TestMain(m *testing.M) { os.Exit(testserver.Main(m, nil)) }

const document = "../../docs/comparison-cases.md"

// cases are what is asked of each. holds reports whether the rule holds for s; what isn't a part of the rule
// fails t.
var cases = []struct {
	name, rule string
	holds      func(t *testing.T, s subject, key string) bool
}{
	{"one load", "Of callers who ask for an absent key at the same time one loads, and all get its value.", oneLoad},
	{"cancel-safe followers", "The first caller's context is cancelled while it loads. Those who wait for it get a value all the same.", cancelSafe},
	{"own way out", "A caller whose context is cancelled while it waits for another one's load returns at once.", ownWayOut},
	{"no stale write-back", "A key is invalidated while a load that has read the old value is under way. Who asks after that doesn't get the old value, " +
		"neither while it loads nor when it has ended.", noStaleWriteBack},
	{"panic to all", "A load panics. Every caller who waits for it is told at once, by a panic or an error, and the next one loads.", panicToAll},
	{"own copy", "Nobody who changes the value that he got changes what others got, or will get.", ownCopy},
	{"absence remembered", "The origin has no such value. The next caller is told so without its being asked again.", absenceRemembered},
	{"stale on error", "An entry has to be loaded again and the origin fails. Callers get the old value.", staleOnError},
}

// What each does is written into a document, and this test fails when that isn't so any more. Not in
// parallel, for waiting looks at all goroutines.
func TestCases(t *testing.T) {
	client := goredis.NewClient(&goredis.Options{Addr: testserver.Redis(t).Addr, MinIdleConns: 10})
	t.Cleanup(func() { _ = client.Close() })
	all := subjects(t, client)

	table := report.Table{Head: []string{""}}
	for _, s := range all {
		table.Head = append(table.Head, s.name)
	}
	rules := ""
	for i, c := range cases {
		cells := []string{c.name}
		for _, s := range all {
			t.Run(c.name+"/"+s.name, func(t *testing.T) {
				holds := c.holds(t, s, fmt.Sprint("case", i))
				if s.name == all[0].name {
					require.True(t, holds, c.rule)
				}
				cells = append(cells, map[bool]string{true: "yes", false: "no"}[holds])
			})
		}
		table.Add(cells...)
		rules += fmt.Sprintf("- *%s*: %s\n", c.name, c.rule)
	}
	observed := text(t, all, rules, table.String())
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(observed), 0o644)) //nolint:gosec // it is to be read
	}
	written, err := os.ReadFile(document)
	require.NoError(t, err)
	require.Equal(t, string(written), observed, "if that is right: go test ./cases -update")
}

func text(t *testing.T, all []subject, rules, table string) string {
	t.Helper()
	versions := make([]string, 0, len(all))
	for _, s := range all[1:] {
		version, err := exec.CommandContext(t.Context(), "go", "list", "-m", s.module).Output()
		require.NoError(t, err)
		versions = append(versions, strings.TrimSpace(string(version)))
	}
	return "# Read-through under trouble\n\n" +
		"What caches do in the cases that read-through meets under load, as the test `TestCases` in " +
		"[benchmarks/cases](../benchmarks/cases) observes it. Each is set up as its own documentation says for what is asked. " +
		"Written by `cd benchmarks && go test ./cases -update`; the test fails when it isn't so any more.\n\n" +
		rules + "\n" + table + "\nWith " + strings.Join(versions, ", ") + ".\n"
}

// patience bounds every wait for what should come.
const patience = 10 * time.Second

// result is what a caller got.
type result struct {
	value    []string
	err      error
	panicked bool
}

// told says whether the caller has been told that there is no value.
func (r result) told() bool { return r.panicked || r.err != nil }

// ask calls via in a goroutine that waiting knows as a caller.
func ask(ctx context.Context, s subject, key string, load loader) <-chan result {
	results := make(chan result, 1)
	go caller(ctx, s, key, load, results)
	return results
}

//go:noinline
func caller(ctx context.Context, s subject, key string, load loader, results chan<- result) {
	r := result{panicked: true}
	defer func() {
		_ = recover()
		results <- r
	}()
	r.value, r.err = s.via(ctx, key, load)
	r.panicked = false
}

// get returns what a caller got in time.
func get(t *testing.T, results <-chan result) result {
	t.Helper()
	select {
	case r := <-results:
		return r
	case <-time.After(patience):
		require.Fail(t, "a caller never returned")
		return result{}
	}
}

// waiting returns when n callers wait for something in the process: not for a server, nor for a processor.
// That they still do so after a while tells that it is for a load.
func waiting(t *testing.T, n int) {
	t.Helper()
	stable := 0
	require.Eventually(t, func() bool {
		if callersThatWait() != n {
			stable = 0
			return false
		}
		stable++
		return stable == 10
	}, patience, 5*time.Millisecond)
}

func callersThatWait() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	n := 0
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		_, state, _ := strings.Cut(stack, "[")
		state, _, _ = strings.Cut(state, "]")
		state, _, _ = strings.Cut(state, ",") // "select, 2 minutes"
		waits := slices.Contains([]string{"select", "chan receive", "semacquire", "sync.WaitGroup.Wait", "sync.Cond.Wait"}, state)
		if waits && strings.Contains(stack, "cases_test.caller(") {
			n++
		}
	}
	return n
}

// origin is where loads get their values. A load waits for release, or for the end of its context.
type origin struct {
	value   atomic.Pointer[[]string]
	loads   atomic.Int64
	began   chan struct{}
	release chan struct{}
}

func newOrigin(value ...string) *origin {
	o := &origin{began: make(chan struct{}, 100), release: make(chan struct{})}
	o.value.Store(&value)
	return o
}

// load returns the value that there was when it began, in a slice of its own.
func (o *origin) load(ctx context.Context) ([]string, error) {
	o.loads.Add(1)
	value := slices.Clone(*o.value.Load())
	o.began <- struct{}{}
	select {
	case <-o.release:
		return value, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lead lets a caller begin a load.
func (o *origin) lead(ctx context.Context, t *testing.T, s subject, key string) <-chan result {
	t.Helper()
	results := ask(ctx, s, key, o.load)
	select {
	case <-o.began:
	case <-time.After(patience):
		require.Fail(t, "no load began")
	}
	waiting(t, 1) // in its load
	return results
}

func oneLoad(t *testing.T, s subject, key string) bool {
	t.Helper()
	o := newOrigin("value")
	all := []<-chan result{o.lead(t.Context(), t, s, key)}
	for range 5 {
		all = append(all, ask(t.Context(), s, key, o.load))
	}
	waiting(t, len(all))
	close(o.release)
	for _, results := range all {
		r := get(t, results)
		require.NoError(t, r.err)
		require.Equal(t, []string{"value"}, r.value)
	}
	return o.loads.Load() == 1
}

func cancelSafe(t *testing.T, s subject, key string) bool {
	t.Helper()
	o := newOrigin("value")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := o.lead(ctx, t, s, key)
	second := ask(t.Context(), s, key, o.load)
	waiting(t, 2)
	cancel()
	require.Error(t, get(t, first).err)
	close(o.release)
	r := get(t, second)
	return !r.told() && slices.Equal(r.value, []string{"value"})
}

func ownWayOut(t *testing.T, s subject, key string) bool {
	t.Helper()
	o := newOrigin("value")
	first := o.lead(t.Context(), t, s, key)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	second := ask(ctx, s, key, o.load)
	waiting(t, 2)
	cancel()
	left := false
	select {
	case r := <-second:
		left = errors.Is(r.err, context.Canceled)
	case <-time.After(time.Second):
	}
	close(o.release)
	require.NoError(t, get(t, first).err)
	return left
}

func noStaleWriteBack(t *testing.T, s subject, key string) bool {
	t.Helper()
	o := newOrigin("old")
	first := o.lead(t.Context(), t, s, key)
	require.NoError(t, s.invalidate(t.Context(), key))
	changed := func(context.Context) ([]string, error) { return []string{"new"}, nil }
	second := ask(t.Context(), s, key, changed) // loads, or waits for the first
	var during result
	select {
	case during = <-second:
		close(o.release)
	case <-time.After(time.Second):
		close(o.release)
		during = get(t, second)
	}
	require.NoError(t, get(t, first).err)
	after := get(t, ask(t.Context(), s, key, changed))
	require.NoError(t, errors.Join(during.err, after.err))
	return during.value[0] == "new" && after.value[0] == "new"
}

func panicToAll(t *testing.T, s subject, key string) bool {
	t.Helper()
	began, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	load := func(context.Context) ([]string, error) {
		once.Do(func() { close(began) })
		<-release
		panic("on purpose")
	}
	all := []<-chan result{ask(t.Context(), s, key, load)}
	<-began
	for range 3 {
		all = append(all, ask(t.Context(), s, key, load))
	}
	waiting(t, len(all))
	close(release)
	told, since := true, time.Now()
	for _, results := range all {
		told = get(t, results).told() && told
	}
	told = told && time.Since(since) < 2*time.Second // and not after a timeout
	r := get(t, ask(t.Context(), s, key, func(context.Context) ([]string, error) { return []string{"value"}, nil }))
	return told && !r.told() && slices.Equal(r.value, []string{"value"})
}

func ownCopy(t *testing.T, s subject, key string) bool {
	t.Helper()
	o := newOrigin("value")
	first := o.lead(t.Context(), t, s, key)
	second := ask(t.Context(), s, key, o.load)
	waiting(t, 2)
	close(o.release)
	a, b := get(t, first), get(t, second)
	require.NoError(t, errors.Join(a.err, b.err))
	a.value[0] = "changed by the first"
	intact := b.value[0] == "value"
	b.value[0] = "changed by the second"
	c := get(t, ask(t.Context(), s, key, o.load))
	require.NoError(t, c.err)
	intact = intact && c.value[0] == "value"
	c.value[0] = "changed by the third"
	d := get(t, ask(t.Context(), s, key, o.load))
	require.NoError(t, d.err)
	return intact && d.value[0] == "value"
}

func absenceRemembered(t *testing.T, s subject, key string) bool {
	t.Helper()
	var loads atomic.Int64
	load := func(context.Context) ([]string, error) {
		loads.Add(1)
		return nil, fmt.Errorf("no such row: %w", s.notFound)
	}
	for range 2 {
		require.True(t, get(t, ask(t.Context(), s, key, load)).told())
	}
	return loads.Load() == 1
}

func staleOnError(t *testing.T, s subject, key string) bool {
	t.Helper()
	value := []string{"value"}
	r := get(t, ask(t.Context(), s, key, func(context.Context) ([]string, error) { return value, nil }))
	require.NoError(t, r.err)
	time.Sleep(s.over + s.over/4)
	var asked atomic.Int64
	fails := func(context.Context) ([]string, error) {
		asked.Add(1)
		return nil, errors.New("the origin is down")
	}
	served := true
	for range 2 { // the second is for those that find out in the background
		r = get(t, ask(t.Context(), s, key, fails))
		served = served && !r.told() && slices.Equal(r.value, value)
		require.Eventually(t, func() bool { return asked.Load() > 0 }, patience, time.Millisecond)
	}
	return served
}
