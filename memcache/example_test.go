package memcache_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
)

// server is where the examples find a memcached, like "localhost:11211".
var server string

func TestMain(m *testing.M) {
	os.Exit(testserver.Main(m, func(tb testing.TB) { server = testserver.Memcached(tb).Addr }))
}

func Example() {
	ctx := context.Background()
	backend, err := memcache.Open(nil, server)
	if err != nil {
		panic(err)
	}
	defer backend.Close()

	type user struct{ Name string }
	users := appcache.New[user](backend, nil)
	const ada = appcache.StringKey[user]("users/54")
	if err := users.Set(ctx, ada, user{"Ada"}, time.Hour); err != nil {
		panic(err)
	}
	u, found, err := users.Get(ctx, ada)
	fmt.Println(u.Name, found, err)
	// Output: Ada true <nil>
}

func ExampleNew() {
	client := gomemcache.New(server)
	client.Timeout = 100 * time.Millisecond // what a request can wait for
	client.MaxIdleConns = 64                // what runs at the same time
	defer client.Close()

	greetings := appcache.New[string](memcache.New(client, nil), nil)
	const key = appcache.StringKey[string]("greeting")
	if err := greetings.Set(context.Background(), key, "hello", time.Minute); err != nil {
		panic(err)
	}
	item, err := client.Get("appcache/greeting") // the client is still its owner's
	fmt.Printf("%s %v\n", item.Value, err)
	// Output: hello <nil>
}

func ExampleOpen() {
	// Servers started with: memcached -I 8m
	backend, err := memcache.Open(&memcache.Options{MaxItemSize: 8 << 20}, server)
	if err != nil {
		panic(err)
	}
	defer backend.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = backend.SetRaw(ctx, "too large", make([]byte, 9<<20), 0)
	fmt.Println(errors.Is(err, appcache.ErrTooLarge))
	// Output: true
}

func ExampleOpen_badAddress() {
	_, err := memcache.Open(nil, "localhost")
	fmt.Println(err)
	// Output: memcache: address localhost: missing port in address
}
