package redis_test

import (
	"context"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/redis"
)

// The program's own client is shared with the cache, in a database where Clear harms nobody.
func ExampleNew() {
	ctx := context.Background()
	client := goredis.NewClient(&goredis.Options{
		Addr:                  exampleAddr, // such as "localhost:6379"
		DB:                    1,
		ContextTimeoutEnabled: true, // or a deadline isn't looked at while the server owes an answer
		DialerRetries:         1,    // of a cache one wants to know soon that it is down
	})
	defer client.Close()

	names := appcache.New[string](redis.New(client), nil)
	user := appcache.StringKey[string]("users/54/name")
	if err := names.Set(ctx, user, "Ada", time.Hour); err != nil {
		fmt.Println(err)
	}
	name, found, err := names.Get(ctx, user)
	fmt.Println(name, found, err)

	// It reads with redis-cli too.
	fmt.Println(client.Get(ctx, "appcache/users/54/name"))

	// Output:
	// Ada true <nil>
	// get appcache/users/54/name: Ada
}

// A backend keeps bytes, and is used by a Cache. These are the calls that it makes.
func ExampleBackend() {
	ctx := context.Background()
	client := goredis.NewClient(&goredis.Options{Addr: exampleAddr, DB: 2, ContextTimeoutEnabled: true})
	defer client.Close()
	b := redis.New(client)

	_ = b.SetRaw(ctx, "key", []byte("value"), time.Minute)
	value, found, err := b.GetRaw(ctx, "key")
	fmt.Printf("%s %v %v\n", value, found, err)

	_ = b.InvalidateRaw(ctx, "key")
	value, found, err = b.GetRaw(ctx, "key")
	fmt.Printf("%q %v %v\n", value, found, err)

	// Output:
	// value true <nil>
	// "" false <nil>
}
