package sqlitelru_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/sqlitelru"
)

// A script keeps what is slow to get in a file beside it.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()

	for range 2 { // as in two runs of the script
		backend, err := sqlitelru.Open(filepath.Join(dir, "cache.db"), nil)
		if err != nil {
			log.Fatal(err)
		}
		prices := appcache.New[float64](backend, nil)
		price, err := prices.GetVia(ctx, appcache.StringKey[float64]("prices/tea"), time.Hour, func(context.Context) (float64, error) {
			fmt.Println("asking the shop")
			return 4.5, nil
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(price)
		if err := backend.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// asking the shop
	// 4.5
	// 4.5
}

// The cache lives beside the tables of the program.
func ExampleNew() {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection to ":memory:" has a database of its own

	backend, err := sqlitelru.New(db, &sqlitelru.Options{MaxSize: 2})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for _, key := range []string{"a", "b", "c"} {
		if err := backend.SetRaw(ctx, key, []byte("value of "+key), 0); err != nil {
			log.Fatal(err)
		}
	}
	for _, key := range []string{"a", "b", "c"} {
		value, found, err := backend.GetRaw(ctx, key)
		fmt.Printf("%s: %q %v %v\n", key, value, found, err)
	}
	// Output:
	// a: "" false <nil>
	// b: "value of b" true <nil>
	// c: "value of c" true <nil>
}

// Backends in memory share their entries, whoever makes them.
func ExampleInMemoryDB() {
	backend, err := sqlitelru.New(nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := backend.Clear(ctx); err != nil {
		log.Fatal(err)
	}
	if err := backend.SetRaw(ctx, "key", []byte("value"), time.Hour); err != nil {
		log.Fatal(err)
	}
	var key string
	err = sqlitelru.InMemoryDB().QueryRowContext(ctx, "SELECT CAST(key AS TEXT) FROM appcache_entries").Scan(&key)
	fmt.Println(key, err)
	// Output: key <nil>
}
