// Quickstart is a first look at appcache: what it does with a few values, and what comes back. It
// needs nothing installed, for if it isn't told otherwise it caches in SQLite, in memory:
//
//	go run ./examples/quickstart
//
// The same code runs on every store; -addr and -file may be left out:
//
//	go run ./examples/quickstart -backend redis -addr localhost:6379
//	go run ./examples/quickstart -backend memcache -addr localhost:11211
//	go run ./examples/quickstart -backend sqlite -file cache.db
//
// It keeps to keys of its own, below "appcache-quickstart", and leaves what else is in the store alone.
// Opening the stores is in store.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/goappcache/appcache"
)

// User is what we keep. It may be of any type; of a struct the exported fields are kept.
type User struct {
	Name string
	Born int
}

// userKey is where we keep a user, at users/54 for one. The key carries the type of the value: looking
// it up in a cache of something else doesn't compile.
type userKey struct {
	appcache.BaseKey[User]
	id int
}

func (k userKey) CacheKeySegments() []string { return []string{"users", strconv.Itoa(k.id)} }

// loginCode is a key with a fixed name, of a string.
const loginCode = appcache.StringKey[string]("login code")

// likesKey is where we keep a page of what a user likes. Its namespace is that of all about the user.
type likesKey struct {
	appcache.BaseKey[[]string]
	userID, page int
}

func (k likesKey) CacheKeySegments() []string { return []string{"likes", strconv.Itoa(k.page)} }

func (k likesKey) NamespaceKey() appcache.NamespaceKey { return allAbout(k.userID) }

func allAbout(userID int) appcache.Generation {
	return appcache.Generation("users/" + strconv.Itoa(userID))
}

func main() {
	if err := run(context.Background(), storeFromFlags()); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, store store) (err error) {
	// A program makes one backend, and over it a cache for each type that it keeps.
	backend, closeBackend, err := store.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBackend()) }()

	opts := &appcache.Options{Prefix: "appcache-quickstart"}
	users := appcache.New[User](backend, opts)
	codes := appcache.New[string](backend, opts)
	likes := appcache.New[[]string](backend, opts)

	fmt.Println("This caches in", store)
	if err := hitAndMiss(ctx, users); err != nil {
		return err
	}
	if err := readThrough(ctx, users); err != nil {
		return err
	}
	if err := timeToLive(ctx, codes); err != nil {
		return err
	}
	return namespace(ctx, likes)
}

// hitAndMiss keeps a value and removes it again.
func hitAndMiss(ctx context.Context, users *appcache.Cache[User]) error {
	fmt.Println("\nA value under a key: a hit, and a miss.")
	key := userKey{id: 54}

	if err := users.Set(ctx, key, User{Name: "Ada", Born: 1815}, time.Minute); err != nil {
		return err
	}
	fmt.Println("  Set user 54, for a minute.")

	user, found, err := users.Get(ctx, key)
	if err != nil {
		return err // the store couldn't answer; that there is no such entry is no error
	}
	fmt.Printf("  Get user 54: found %t, %+v.\n", found, user)

	if err := users.Invalidate(ctx, key); err != nil {
		return err
	}
	fmt.Println("  Invalidate user 54.")

	user, found, err = users.Get(ctx, key)
	if err != nil {
		return err
	}
	fmt.Printf("  Get user 54: found %t, %+v.\n", found, user)
	return nil
}

// readThrough asks for a value twice, and loads it once.
func readThrough(ctx context.Context, users *appcache.Cache[User]) error {
	fmt.Println("\nReading through the cache: what isn't there is loaded, and kept.")
	load := func(context.Context) (User, error) { // from a database, say
		fmt.Println("    (The getter runs: it loads user 54.)")
		return User{Name: "Ada", Born: 1815}, nil
	}
	for range 2 {
		user, err := users.GetVia(ctx, userKey{id: 54}, time.Minute, load)
		if err != nil {
			return err
		}
		fmt.Printf("  GetVia user 54: %+v.\n", user)
	}
	return nil
}

// timeToLive keeps a value for a second.
func timeToLive(ctx context.Context, codes *appcache.Cache[string]) error {
	fmt.Println("\nA TTL: the entry goes away by itself.")
	stored := time.Now()
	if err := codes.Set(ctx, loginCode, "4711", time.Second); err != nil {
		return err
	}
	fmt.Println("  Set the login code, for a second.")

	code, found, err := codes.Get(ctx, loginCode)
	if err != nil {
		return err
	}
	fmt.Printf("  Get the login code: found %t, %q.\n", found, code)

	// An entry is never gone early, and on Redis and SQLite it isn't late either. The clock of
	// memcached ticks in seconds: there it may be two seconds late.
	for found {
		time.Sleep(10 * time.Millisecond)
		if _, found, err = codes.Get(ctx, loginCode); err != nil {
			return err
		}
	}
	fmt.Printf("  Get the login code, %.1f s later: found %t.\n", time.Since(stored).Seconds(), found)
	return nil
}

// namespace keeps two values in a namespace, and drops it.
func namespace(ctx context.Context, likes *appcache.Cache[[]string]) error {
	fmt.Println("\nA namespace: what belongs together is dropped at once.")
	first, second := likesKey{userID: 54, page: 1}, likesKey{userID: 54, page: 2}

	if err := likes.Set(ctx, first, []string{"engines", "poetry"}, time.Minute); err != nil {
		return err
	}
	if err := likes.Set(ctx, second, []string{"numbers"}, time.Minute); err != nil {
		return err
	}
	fmt.Println("  Set two pages of what user 54 likes.")
	if err := showLikes(ctx, likes, first, second); err != nil {
		return err
	}
	if err := likes.InvalidateNamespace(ctx, allAbout(54)); err != nil {
		return err
	}
	fmt.Println("  InvalidateNamespace of user 54.")
	return showLikes(ctx, likes, first, second)
}

func showLikes(ctx context.Context, likes *appcache.Cache[[]string], keys ...likesKey) error {
	for _, key := range keys {
		what, found, err := likes.Get(ctx, key)
		if err != nil {
			return err
		}
		fmt.Printf("  Get page %d: found %t, %v.\n", key.page, found, what)
	}
	return nil
}
