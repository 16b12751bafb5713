package cachetest

import (
	"fmt"
	"math"
	"time"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

var ttlCases = []testCase{
	{
		name: "TTL",
		rule: "With a positive TTL an entry must be a hit until that is over and a miss soon after, also when nobody looked before. Reading must not lengthen it.",
		run: func(c *checker) {
			ttls := []time.Duration{
				1500 * time.Microsecond, 20 * time.Millisecond, 500 * time.Millisecond,
				900 * time.Millisecond, time.Second, 1500 * time.Millisecond,
			}
			c.must(together(len(ttls), func(i int) error { return lifetime(c, ttls[i]) }))
			fractions(c)
		},
	},
	{
		name: "tiny TTLs",
		rule: "A positive TTL, however small, must not become 0, which is for ever.",
		run: func(c *checker) {
			ttls := []time.Duration{1, time.Microsecond, 999 * time.Microsecond}
			c.must(together(len(ttls), func(i int) error { return lifetime(c, ttls[i]) }))
		},
	},
	{
		name: "huge TTLs",
		rule: "A TTL, however large, must not overflow nor be taken for a point in time: the entry is a hit at once and stays.",
		run: func(c *checker) {
			stays(c, 30*day-time.Second, 30*day, 30*day+time.Second, 31*day, year, 12*year, 40*year, 70*year, 100*year, math.MaxInt64)
		},
	},
	{
		name: "TTL of 0",
		rule: "A TTL of 0 never expires.",
		run:  func(c *checker) { stays(c, 0) },
	},
	{
		name: "overwriting replaces the TTL",
		rule: "SetRaw must replace the TTL that was there, a long one by a short one and the other way round. Nothing of it may be left after an InvalidateRaw or a Clear either.",
		run:  overwriteTTL,
	},
}

// lifetime checks one entry that is read until its end, and one that is first read after that: a
// store that removes an expired entry when it is read must not return it that once.
func lifetime(c *checker, ttl time.Duration) error {
	value := []byte("value")
	read, unread := fmt.Sprintf("read-%d", ttl), fmt.Sprintf("unread-%d", ttl)

	begin := time.Now()
	if err := c.trySet(read, value, ttl); err != nil {
		return err
	}
	if err := c.trySet(unread, value, ttl); err != nil {
		return err
	}
	stored := time.Now()

	// On a busy machine an answer may come late, so only one that came before the end says anything.
	// The thousandth is for the store's clock, which may run a little faster than ours.
	end := begin.Add(ttl - ttl/1000)
	for time.Now().Before(end) {
		_, found, err := c.tryGet(read)
		if err != nil {
			return err
		}
		if age := time.Since(begin); !found && time.Now().Before(end) {
			return fmt.Errorf("an entry with a TTL of %v is a miss after %v", ttl, age)
		}
		time.Sleep(min(20*time.Millisecond, max(ttl/10, 1)))
	}

	time.Sleep(time.Until(stored.Add(ttl + c.h.late())))
	for range 2 {
		for _, key := range []string{unread, read} {
			age := time.Since(stored)
			if err := c.tryMiss(key); err != nil {
				return fmt.Errorf("an entry with a TTL of %v, after %v (Harness.Late is %v): %w", ttl, age, c.h.late(), err)
			}
		}
	}

	// What has expired is as if it had never been there.
	if err := c.tryInvalidate(unread); err != nil {
		return fmt.Errorf("of an expired entry: %w", err)
	}
	if err := c.trySet(read, value, 0); err != nil {
		return fmt.Errorf("over an expired entry: %w", err)
	}
	return c.tryHit(read, value)
}

// fractions looks without a pause for a miss in the last part of a millisecond, which a store that
// counts in milliseconds may cut off. On a busy machine not every try sees it.
func fractions(c *checker) {
	c.Helper()
	const ttl = 2900 * time.Microsecond
	for n := range 10 {
		key := fmt.Sprintf("fraction-%d", n)
		begin := time.Now()
		c.set(key, []byte("value"), ttl)
		for range 200 { // enough for a store that is asked over a network
			_, found, err := c.tryGet(key)
			c.must(err)
			age := time.Since(begin)
			if age >= ttl-ttl/1000 {
				break
			}
			if !found {
				c.Fatalf("an entry with a TTL of %v is a miss after %v", ttl, age)
			}
		}
	}
}

// stays checks that an entry with each TTL is a hit at once and after a second and a bit, for the
// clocks of some stores tick in seconds.
func stays(c *checker, ttls ...time.Duration) {
	c.Helper()
	key := func(ttl time.Duration) string { return fmt.Sprintf("ttl-%d", ttl) }
	look := func() {
		c.Helper()
		for _, ttl := range ttls {
			if err := c.tryHit(key(ttl), []byte("value")); err != nil {
				c.Errorf("an entry with a TTL of %v: %v", ttl, err)
			}
		}
	}
	for _, ttl := range ttls {
		c.set(key(ttl), []byte("value"), ttl)
	}
	look()
	if !c.Failed() {
		time.Sleep(1200 * time.Millisecond)
		look()
	}
}

func overwriteTTL(c *checker) {
	const short = 300 * time.Millisecond
	value := []byte("new value")
	tests := []struct {
		key           string
		first, second time.Duration
		between       func(key string) error
		stays         bool
	}{
		{key: "0-then-short", first: 0, second: short},
		{key: "long-then-short", first: time.Hour, second: short},
		{key: "huge-then-short", first: math.MaxInt64, second: short},
		{key: "short-then-0", first: short, second: 0, stays: true},
		{key: "short-then-long", first: short, second: time.Hour, stays: true},
		{key: "short-then-huge", first: short, second: math.MaxInt64, stays: true},
		{key: "short-invalidated-then-0", first: short, between: c.tryInvalidate, second: 0, stays: true},
		{key: "0-invalidated-then-short", first: 0, between: c.tryInvalidate, second: short},
	}
	c.set("short-cleared-then-0", []byte("old value"), short)
	c.clear()
	c.set("short-cleared-then-0", value, 0)
	for _, tt := range tests {
		c.set(tt.key, []byte("old value"), tt.first)
		if tt.between != nil {
			c.must(tt.between(tt.key))
		}
		c.set(tt.key, value, tt.second)
	}
	time.Sleep(short + c.h.late())
	for _, tt := range tests {
		if tt.stays {
			c.hit(tt.key, value)
		} else {
			c.miss(tt.key)
		}
	}
	c.hit("short-cleared-then-0", value)
}
