package cachetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/goappcache/appcache"
)

var valueCases = []testCase{
	{
		name: "miss",
		rule: "GetRaw of a key under which nothing is stored must return (nil, false, nil).",
		run: func(c *checker) {
			c.miss("absent")
			c.set("present", []byte("value"), 0)
			c.miss("absent")
		},
	},
	{
		name: "hit",
		rule: "GetRaw of a key that SetRaw stored must return (value, true, nil), as often as it is called.",
		run: func(c *checker) {
			for _, ctx := range []context.Context{c.ctx, context.Background()} { // one that can end and one that can't
				c.ctx = ctx
				for _, ttl := range []time.Duration{0, time.Hour} {
					c.set("key", []byte("value"), ttl)
					c.hit("key", []byte("value"))
					c.hit("key", []byte("value"))
				}
				c.invalidate("key")
				c.miss("key")
				c.clear()
			}
		},
	},
	{
		name: "empty value",
		rule: "An empty value and a nil value, which is the empty value, are values: GetRaw must return (empty, true, nil), not a miss.",
		run: func(c *checker) {
			c.set("empty", []byte{}, 0)
			c.set("nil", nil, 0)
			c.set("empty-with-ttl", []byte{}, time.Hour)
			c.set("nil-with-ttl", nil, time.Hour)
			c.set("emptied", []byte("value"), 0)
			c.set("emptied", nil, 0)
			for _, key := range []string{"empty", "nil", "empty-with-ttl", "nil-with-ttl", "emptied"} {
				c.hit(key, nil)
			}
		},
	},
	{
		name: "any bytes",
		rule: "A value may be any bytes and must come back as it is, whatever they look like to the store's protocol.",
		run: func(c *checker) {
			for _, value := range oddValues {
				c.set("key", []byte(value), 0)
				c.hit("key", []byte(value))
			}
		},
	},
	{
		name: "big value",
		rule: "A value of some hundred kibibytes must come back as it is.",
		run: func(c *checker) {
			for _, size := range []int{4096, 65535, 65536, 300_001} {
				if c.h.MaxValue > 0 {
					size = min(size, c.h.MaxValue)
				}
				value := randomBytes(size)
				c.set("key", value, 0)
				c.hit("key", value)
			}
		},
	},
	{
		name: "overwriting replaces the value",
		rule: "SetRaw must replace the value that was there, by a longer one or a shorter one.",
		run: func(c *checker) {
			for _, value := range []string{"value", "a longer value", "short", "value again"} {
				c.set("key", []byte(value), 0)
				c.hit("key", []byte(value))
			}
		},
	},
}

// oddValues are what a text protocol, a column with a type, or a test for nil may get wrong.
var oddValues = []string{
	allBytes(), "\x00", "\x00\x00value", "value\x00", " value ", "\r\n", "value\r\n", "\r\nEND\r\n", "$-1\r\n",
	"\nset key 0 0 1\r\nx\r\n", "\xff\xfe\xfd", "\xc3\x28", "é", "e\u0301", "0", "-0", "007", "1e3", "1.0", "12345678901234567890",
	"NULL", "null", "nil", "true", "''", `""`, "'; --", "x'00'", "%s%d%n", "\x1f\x8b", "\x00ac\x01", "a\nb\rc\td",
}

// allBytes returns each of the 256 bytes once.
func allBytes() string {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return string(all)
}

// randomBytes returns bytes that don't compress, the same ones for every call.
func randomBytes(size int) []byte {
	value := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(value) // never fails
	return value
}

var sliceCases = []testCase{
	{
		name: "given slice is not kept",
		rule: "SetRaw must not keep the slice: when the caller changes it after the return, the entry stays as it was.",
		run: func(c *checker) {
			value := slices.Grow([]byte("value"), 100)
			c.set("key", value, 0)
			fill(value[:cap(value)], 'x')
			c.hit("key", []byte("value"))
		},
	},
	{
		name: "given slice is not changed",
		rule: "SetRaw must not change the slice that it is given, nor the memory between its length and its capacity.",
		run: func(c *checker) {
			memory := randomBytes(100)
			want := bytes.Clone(memory)
			c.set("key", memory[10:50], 0)
			c.set("other", memory[:0], time.Hour)
			c.hit("key", want[10:50])
			if !bytes.Equal(memory, want) {
				c.Fatalf("SetRaw was given the bytes 10 to 50 of an array, which was %s and now is %s", quote(want), quote(memory))
			}
		},
	},
	{
		name: "returned slice is the caller's",
		rule: "The caller owns the slice that GetRaw returns: changing it, or appending to it, changes neither the entry nor what another GetRaw returned.",
		run: func(c *checker) {
			c.set("key", []byte("value"), 0)
			c.set("other", []byte("other value"), 0)
			var first, second, other []byte
			for _, get := range []struct {
				key  string
				into *[]byte
			}{{"key", &first}, {"other", &other}, {"key", &second}} {
				value, _, err := c.tryGet(get.key)
				c.must(err)
				*get.into = value
			}
			fill(first[:cap(first)], 'x')
			if string(second) != "value" || string(other) != "other value" {
				c.Fatalf("two slices that GetRaw returned share memory: writing to one made the others %s and %s", quote(second), quote(other))
			}
			c.hit("key", []byte("value"))
			c.hit("other", []byte("other value"))
		},
	},
	{
		name: "returned slice stays",
		rule: "The caller owns the slice that GetRaw returns: later calls must not change it.",
		run: func(c *checker) {
			c.set("key", []byte("value"), 0)
			value, _, err := c.tryGet("key")
			c.must(err)
			c.set("key", []byte("VALUE"), 0)
			c.hit("key", []byte("VALUE"))
			c.set("other", []byte("OTHER"), 0)
			c.hit("other", []byte("OTHER"))
			c.invalidate("key")
			c.clear()
			if string(value) != "value" {
				c.Fatalf("GetRaw returned a slice that held %s at first, and %s after other calls", quote("value"), quote(value))
			}
		},
	},
}

func fill(s []byte, b byte) {
	for i := range s {
		s[i] = b
	}
}

// tooLargeCases are for backends that know a limit.
var tooLargeCases = []testCase{
	{
		name: "value too large",
		rule: "A value larger than the store takes must be an error that wraps appcache.ErrTooLarge, before anything is sent: the entry that was there stays.",
		run: func(c *checker) {
			value := randomBytes(c.h.MaxValue + 1)
			c.set("k", []byte("old value"), time.Hour)
			for _, key := range []string{"k", "n"} {
				if err := c.b.SetRaw(c.ctx, key, value, 0); !errors.Is(err, appcache.ErrTooLarge) {
					c.Fatalf("SetRaw of %d bytes, one more than Harness.MaxValue, returned the error %v, want one that wraps appcache.ErrTooLarge", len(value), err)
				}
			}
			c.hit("k", []byte("old value"))
			c.miss("n")
		},
	},
	{
		name: "largest value",
		rule: "A value of just the size that the backend says it takes must be stored.",
		run: func(c *checker) {
			value := randomBytes(c.h.MaxValue)
			c.set("k", value, 0)
			c.hit("k", value)
		},
	},
}
