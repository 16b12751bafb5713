// Package cachetest tests backends of appcache, and has two for the tests of those who use a cache.
//
// [NewMemory] is a backend in memory. Give it to [appcache.New] in a unit test and no server is
// needed. [Faulty] wraps a backend and does what stores and networks do at their worst, by turn or at random.
//
// [TestBackend] checks that a backend does what [appcache.RawBackend] asks of it, a case for each
// line of that contract. The test of a backend of your own is:
//
//	func TestBackend(t *testing.T) {
//		cachetest.TestBackend(t, cachetest.Harness{
//			New: func(t testing.TB) appcache.RawBackend {
//				b, err := mystore.Open(t.TempDir())
//				if err != nil {
//					t.Fatal(err)
//				}
//				t.Cleanup(func() { b.Close() })
//				return b
//			},
//		})
//	}
//
// In what the store differs from others, say in the other fields of [Harness]. Set Outage and Hang
// where there is a server to end and to halt: what they find is seldom found otherwise.
//
// Run it with -race: some of the cases use the backend from many goroutines. A case that fails
// prints the rule that it checks. The cases run in parallel, and no case depends on another, so
// "go test -run TestBackend/huge_TTLs" runs one alone.
package cachetest

import (
	"slices"
	"testing"
	"time"

	"github.com/goappcache/appcache"
)

// Harness tells [TestBackend] how to make the backend that it tests, and in what the store differs
// from others. New is required; of the other fields the zero value is right for most stores.
type Harness struct {
	// New returns a backend over an empty store that nobody else uses while the case runs. It is
	// called once for each case, by several cases at a time, and fails t when it can't. What it
	// opens it closes with t.Cleanup. The store must keep 2,000 small entries, and 2 MiB, without
	// evicting any.
	New func(t testing.TB) appcache.RawBackend

	// Late is how long after the end of its TTL an entry may still be a hit. 0: 50 ms. A store
	// whose clock ticks in seconds needs two, and some more for a busy machine.
	Late time.Duration

	// MaxValue is the size in bytes of the largest value that the backend takes, under a key of one
	// byte. That size must be stored and one byte more must be refused. 0: the backend knows no
	// limit.
	MaxValue int

	// Outage returns a backend as New does, and what ends and restores its store: between down
	// and up the store must be unable to answer any of the four methods, as when its process was
	// killed. It may lose its entries. nil: the cases of an outage aren't run.
	Outage func(t testing.TB) (b appcache.RawBackend, down, up func())

	// Hang returns a backend as New does, and what halts its store and lets it go on: between hang
	// and resume the store must take calls and not answer them, as when its process was stopped. For
	// backends that can leave such a call when the context's deadline is over. nil: the cases of
	// a store that hangs aren't run.
	Hang func(t testing.TB) (b appcache.RawBackend, hang, resume func())
}

// late returns Late or its default.
func (h Harness) late() time.Duration {
	if h.Late == 0 {
		return 50 * time.Millisecond
	}
	return h.Late
}

// TestBackend checks that the backends which h makes keep the contract of [appcache.RawBackend].
// Each rule is a subtest of t; they run in parallel with each other and take some 4 s, or h.Late
// plus that.
func TestBackend(t *testing.T, h Harness) {
	t.Helper()
	if h.New == nil {
		t.Fatal("cachetest: Harness.New is nil: write a function that returns a backend over an empty store")
	}
	for _, tc := range cases(h) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.test(t, h)
		})
	}
}

// testCase is one rule of the contract and what checks it.
type testCase struct {
	name string
	rule string // printed when the case fails: a sentence that says what a backend must do
	run  func(c *checker)

	ownBackend bool // run makes its backend itself
}

// cases returns those that can be run with h.
func cases(h Harness) []testCase {
	all := slices.Concat(valueCases, sliceCases, keyCases, ttlCases, removalCases, contextCases, concurrencyCases)
	if h.MaxValue > 0 {
		all = append(all, tooLargeCases...)
	}
	if h.Outage != nil {
		all = append(all, outageCases...)
	}
	if h.Hang != nil {
		all = append(all, hangCases...)
	}
	return all
}

// test runs one case. It takes a testing.TB, so that the kit's own test can watch it fail.
func (tc testCase) test(t testing.TB, h Harness) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the rule: %s", tc.rule)
		}
	})
	c := &checker{TB: t, h: h, ctx: t.Context()}
	if !tc.ownBackend {
		c.b = h.New(t)
		c.needBackend("New")
	}
	tc.run(c)
}
