package cachetest

import (
	"fmt"
	"time"
)

var removalCases = []testCase{
	{
		name: "invalidate",
		rule: "When InvalidateRaw has returned nil, the entry must be gone, and no other with it.",
		run: func(c *checker) {
			for _, ttl := range []time.Duration{0, time.Hour} {
				c.set("key", []byte("value"), ttl)
				c.set("key2", []byte("value 2"), ttl)
				c.set("ke", []byte("value 3"), ttl)
				c.hit("key", []byte("value"))
				c.invalidate("key")
				c.miss("key")
				c.hit("key2", []byte("value 2"))
				c.hit("ke", []byte("value 3"))
				c.set("key", []byte("new value"), ttl)
				c.hit("key", []byte("new value"))
			}
		},
	},
	{
		name: "invalidate an absent key",
		rule: "InvalidateRaw of a key under which nothing is stored must be a success.",
		run: func(c *checker) {
			c.invalidate("absent")
			c.set("key", []byte("value"), 0)
			c.invalidate("key")
			c.invalidate("key")
			c.miss("key")
		},
	},
	{
		name: "clear",
		rule: "When Clear has returned nil, every entry must be gone, with whatever TTL, on every node of the store.",
		run: func(c *checker) {
			const entries = 300 // so that every node of a big cluster has some
			key := func(i int) string { return fmt.Sprintf("users/%d/name", i) }
			for i := range entries {
				c.set(key(i), []byte("value"), time.Duration(i%3)*time.Hour)
			}
			for i := range entries {
				c.hit(key(i), []byte("value"))
			}
			c.clear()
			for i := range entries {
				c.miss(key(i))
			}
		},
	},
	{
		name: "clear an empty store",
		rule: "Clear of an empty store must be a success.",
		run: func(c *checker) {
			c.clear()
			c.clear()
			c.miss("key")
		},
	},
	{
		name: "store after clear",
		rule: "Clear must not remove what is stored after it has returned, also within the same tick of the store's clock.",
		run: func(c *checker) {
			for range 10 {
				c.set("key", []byte("old value"), 0)
				c.clear()
				c.miss("key")
				c.set("key", []byte("new value"), time.Hour)
				c.set("other", []byte("other value"), 0)
				c.hit("key", []byte("new value"))
				c.hit("other", []byte("other value"))
			}
			time.Sleep(1200 * time.Millisecond) // a tick of a clock of seconds
			c.hit("key", []byte("new value"))
			c.hit("other", []byte("other value"))
		},
	},
}
