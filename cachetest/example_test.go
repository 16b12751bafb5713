package cachetest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
)

// A cache for the unit test of something that takes one.
func ExampleNewMemory() {
	ctx := context.Background()
	cache := appcache.New[string](cachetest.NewMemory(), nil)

	name := appcache.StringKey[string]("users/54/name")
	if err := cache.Set(ctx, name, "Ada", time.Minute); err != nil {
		fmt.Println(err)
		return
	}
	value, found, err := cache.Get(ctx, name)
	fmt.Println(value, found, err)

	// Output: Ada true <nil>
}

// The test of a backend over a store that takes values of up to 1 MiB and counts time in seconds.
func ExampleTestBackend() {
	_ = func(t *testing.T) { // TestBackend
		cachetest.TestBackend(t, cachetest.Harness{
			New: func(testing.TB) appcache.RawBackend {
				return cachetest.NewMemory() // where yours would be, over a store of its own
			},
			Late:     2500 * time.Millisecond,
			MaxValue: 1 << 20,
		})
	}
}

// What a program makes of a store that is down.
func ExampleFaulty() {
	ctx := context.Background()
	store := &cachetest.Faulty{Backend: cachetest.NewMemory(), Choose: cachetest.InTurn(cachetest.Refuse)}
	cache := appcache.New[string](store, nil)

	_, _, err := cache.Get(ctx, appcache.StringKey[string]("users/54/name"))
	fmt.Println(err)
	_, found, err := cache.Get(ctx, appcache.StringKey[string]("users/54/name"))
	fmt.Println(found, err)

	// Output:
	// appcache: get "appcache/users/54/name": cachetest: injected fault
	// false <nil>
}
