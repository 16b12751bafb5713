package cachetest

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"time"
)

var concurrencyCases = []testCase{
	{
		name: "written is visible at once",
		rule: "When SetRaw or InvalidateRaw has returned nil, every GetRaw that begins later must see it, in whatever goroutine.",
		run: func(c *checker) {
			for n := range 40 {
				value := fmt.Appendf(nil, "value %d", n)
				// Written in another goroutine too, for it may get another connection.
				c.must(together(1, func(int) error { return c.trySet("key", value, time.Duration(n%2)*time.Hour) }))
				c.hit("key", value)
				c.must(together(6, func(int) error { return c.tryHit("key", value) }))
				if n%4 == 3 {
					c.must(together(1, func(int) error { return c.tryInvalidate("key") }))
					c.miss("key")
					c.must(together(6, func(int) error { return c.tryMiss("key") }))
				}
			}
		},
	},
	{
		name: "concurrent use",
		rule: "All methods must be safe for concurrent use: GetRaw returns a value that was stored whole under that very key, or a miss.",
		run: func(c *checker) {
			c.must(together(12, func(g int) error { return busy(c, g) }))
			// It still works.
			c.clear()
			c.set("key-0", []byte("value"), 0)
			c.hit("key-0", []byte("value"))
			c.miss("key-1")
		},
	},
}

// busy makes every kind of call on keys that other goroutines use too.
func busy(c *checker, g int) error {
	random := rand.New(rand.NewPCG(uint64(g), 2))
	for n := range 100 {
		key := fmt.Sprintf("key-%d", random.IntN(6))
		var err error
		switch r := random.IntN(100); {
		case r < 40:
			var value []byte
			var found bool
			if value, found, err = c.tryGet(key); err == nil && found {
				err = unstamp(key, value)
				fill(value, 'x') // it is ours
			}
		case r < 85:
			value := stamped(key, g*1000+n)
			err = c.trySet(key, value, time.Duration(r%3)*time.Hour)
			fill(value, 'x') // and so is this
		case r < 97:
			err = c.tryInvalidate(key)
		default:
			err = c.b.Clear(c.ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stamped returns a value that begins with its key and ends with a checksum, of a size that varies
// with n, so that one that is torn, or another key's, is recognised.
func stamped(key string, n int) []byte {
	value := fmt.Appendf(nil, "%s#%d#", key, n)
	value = append(value, bytes.Repeat([]byte{byte('a' + n%26)}, n*37%1500)...)
	return fmt.Appendf(value, "%08x", crc32.ChecksumIEEE(value))
}

// unstamp returns an error for a value that stamped didn't make for key.
func unstamp(key string, value []byte) error {
	if !bytes.HasPrefix(value, []byte(key+"#")) {
		return fmt.Errorf("GetRaw(%s) returned %s, which was never stored under this key", quote(key), quote(value))
	}
	end := len(value) - 8
	if end < 0 || string(value[end:]) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(value[:end])) {
		return fmt.Errorf("GetRaw(%s) returned %s, which was never stored whole", quote(key), quote(value))
	}
	return nil
}
