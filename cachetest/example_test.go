package cachetest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/goappcache/appcache/cachetest"
)

func ExampleNewMemory() {
	ctx := context.Background()
	backend := cachetest.NewMemory()
	if err := backend.SetRaw(ctx, "users/54", []byte("Ada"), time.Minute); err != nil {
		fmt.Println(err)
		return
	}
	value, found, err := backend.GetRaw(ctx, "users/54")
	fmt.Println(string(value), found, err)

	// Output: Ada true <nil>
}
