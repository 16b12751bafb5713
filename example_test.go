package appcache_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
)

// Profile is what a program keeps about a user.
type Profile struct {
	Name  string
	Likes []string
}

// ProfileKey is the key of a profile. It carries the type of its value.
type ProfileKey struct {
	appcache.BaseKey[Profile]
	UserID int
}

func (k ProfileKey) CacheKeySegments() []string {
	return []string{"users", strconv.Itoa(k.UserID), "profile"}
}

func Example() {
	ctx := context.Background()
	backend := cachetest.NewMemory() // or redis.New(client), memcache.New(client, nil), sqlitelru.Open(file, nil)
	profiles := appcache.New[Profile](backend, nil)

	ann := Profile{Name: "Ann", Likes: []string{"tea"}}
	if err := profiles.Set(ctx, ProfileKey{UserID: 54}, ann, time.Hour); err != nil {
		fmt.Println(err)
	}
	profile, found, err := profiles.Get(ctx, ProfileKey{UserID: 54})
	fmt.Println(profile.Name, found, err)
	_, found, err = profiles.Get(ctx, ProfileKey{UserID: 55})
	fmt.Println(found, err)
	// Output:
	// Ann true <nil>
	// false <nil>
}

func ExampleStringKey() {
	ctx := context.Background()
	const mifidStart = appcache.StringKey[time.Time]("mifid start date")
	dates := appcache.New[time.Time](cachetest.NewMemory(), nil)

	_ = dates.Set(ctx, mifidStart, time.Date(2018, 1, 3, 0, 0, 0, 0, time.UTC), 0)
	date, found, _ := dates.Get(ctx, mifidStart)
	fmt.Println(date.Format(time.DateOnly), found)
	// Output: 2018-01-03 true
}

func ExampleCache_GetVia() {
	ctx := context.Background()
	profiles := appcache.New[Profile](cachetest.NewMemory(), nil)
	load := func(context.Context) (Profile, error) {
		fmt.Println("asking the database")
		return Profile{Name: "Ann"}, nil
	}
	for range 2 {
		profile, err := profiles.GetVia(ctx, ProfileKey{UserID: 54}, time.Hour, load)
		fmt.Println(profile.Name, err)
	}
	// Output:
	// asking the database
	// Ann <nil>
	// Ann <nil>
}

func ExampleCache_GetViaTTL() {
	ctx := context.Background()
	tokens := appcache.New[string](cachetest.NewMemory(), nil)
	token, err := tokens.GetViaTTL(ctx, appcache.StringKey[string]("token"), func(context.Context) (string, time.Duration, error) {
		return "the origin says how long it is good", 10 * time.Minute, nil
	})
	fmt.Println(token, err)
	// Output: the origin says how long it is good <nil>
}

func ExampleCache_SetVia() {
	ctx := context.Background()
	profiles := appcache.New[Profile](cachetest.NewMemory(), nil)
	save := func(_ context.Context, p Profile) error {
		if p.Name == "" {
			return errors.New("a profile needs a name")
		}
		fmt.Println("saving", p.Name)
		return nil
	}
	fmt.Println(profiles.SetVia(ctx, ProfileKey{UserID: 54}, Profile{Name: "Ann"}, time.Hour, save))
	fmt.Println(profiles.SetVia(ctx, ProfileKey{UserID: 54}, Profile{}, time.Hour, save))
	_, found, _ := profiles.Get(ctx, ProfileKey{UserID: 54})
	fmt.Println("after the failure there is an entry:", found)
	// Output:
	// saving Ann
	// <nil>
	// a profile needs a name
	// after the failure there is an entry: false
}

// LikesKey lives in the namespace of its user, and is compressed when it is long.
type LikesKey struct {
	appcache.BaseKey[[]string]
	UserID int
}

func (k LikesKey) CacheKeySegments() []string { return []string{"likes"} }

func (k LikesKey) NamespaceKey() appcache.NamespaceKey {
	return appcache.Generation("users/" + strconv.Itoa(k.UserID))
}

func (k LikesKey) ShouldCompress(_ []string, serialised []byte) bool { return len(serialised) > 1024 }

func ExampleGeneration() {
	ctx := context.Background()
	likes := appcache.New[[]string](cachetest.NewMemory(), nil)
	_ = likes.Set(ctx, LikesKey{UserID: 54}, []string{"tea"}, time.Hour)

	// The user changed: all that is cached about them goes at once.
	_ = likes.InvalidateNamespace(ctx, appcache.Generation("users/54"))
	_, found, err := likes.Get(ctx, LikesKey{UserID: 54})
	fmt.Println(found, err)
	// Output: false <nil>
}

// changedKey holds when a user was changed last.
type changedKey struct {
	appcache.BaseKey[time.Time]
	userID int
}

func (k changedKey) CacheKeySegments() []string {
	return []string{"users", strconv.Itoa(k.userID), "changed"}
}

// pageKey lives in the namespace of that time.
type pageKey struct {
	appcache.BaseKey[string]
	userID int
}

func (k pageKey) CacheKeySegments() []string { return []string{"page"} }

func (k pageKey) NamespaceKey() appcache.NamespaceKey {
	return appcache.NamespaceOf[time.Time](changedKey{userID: k.userID})
}

func ExampleNamespaceOf() {
	ctx := context.Background()
	backend := cachetest.NewMemory()
	changes := appcache.New[time.Time](backend, nil)
	pages := appcache.New[string](backend, nil)

	err := pages.Set(ctx, pageKey{userID: 54}, "<html>", time.Hour)
	fmt.Println(errors.Is(err, appcache.ErrNoNamespace))

	monday := time.Date(2026, 11, 16, 9, 0, 0, 0, time.UTC)
	_ = changes.Set(ctx, changedKey{userID: 54}, monday, 0)
	_ = pages.Set(ctx, pageKey{userID: 54}, "<html>", time.Hour)
	_, found, _ := pages.Get(ctx, pageKey{userID: 54})
	fmt.Println(found)

	_ = changes.Set(ctx, changedKey{userID: 54}, monday.Add(time.Hour), 0)
	_, found, _ = pages.Get(ctx, pageKey{userID: 54})
	fmt.Println(found)
	// Output:
	// true
	// true
	// false
}

func ExampleCache_GetByStr() {
	ctx := context.Background()
	profiles := appcache.New[Profile](cachetest.NewMemory(), nil)
	_ = profiles.Set(ctx, ProfileKey{UserID: 54}, Profile{Name: "Ann"}, time.Hour)
	profile, found, err := profiles.GetByStr(ctx, "users/54/profile")
	fmt.Println(profile.Name, found, err)
	// Output: Ann true <nil>
}

func ExampleCache_Path() {
	ctx := context.Background()
	profiles := appcache.New[Profile](cachetest.NewMemory(), &appcache.Options{Prefix: "shop"})
	fmt.Println(profiles.Path(ctx, ProfileKey{UserID: 54}))
	// Output: shop/users/54/profile <nil>
}

func ExampleSerialiserOf() {
	ctx := context.Background()
	celsius := appcache.SerialiserOf(
		func(v float64) ([]byte, error) { return strconv.AppendFloat(nil, v, 'g', -1, 64), nil },
		func(data []byte) (float64, error) { return strconv.ParseFloat(string(data), 64) },
	)
	temperatures := appcache.New[float64](cachetest.NewMemory(), &appcache.Options{Serialiser: celsius})
	_ = temperatures.SetByStr(ctx, "oslo", -3.5, time.Hour, false)
	fmt.Println(temperatures.GetByStr(ctx, "oslo"))
	// Output: -3.5 true <nil>
}

func ExampleOptions_observe() {
	ctx := context.Background()
	profiles := appcache.New[Profile](cachetest.NewMemory(), &appcache.Options{
		Observe: func(_ context.Context, e appcache.Event) { fmt.Println(e.Op, e.Outcome, e.Key, e.Err) },
	})
	_, _, _ = profiles.Get(ctx, ProfileKey{UserID: 54})
	_ = profiles.Set(ctx, ProfileKey{UserID: 54}, Profile{}, -time.Second)
	// Output:
	// get miss appcache/users/54/profile <nil>
	// set failed appcache/users/54/profile the TTL is negative
}
