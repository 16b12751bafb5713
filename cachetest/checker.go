package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/goappcache/appcache"
)

// checker has what a case needs: the test, the backend, and calls of the backend's methods that
// stop the case when they return what they mustn't. Those whose names begin with "try" return an
// error instead, for goroutines that can't stop the test.
type checker struct {
	testing.TB
	h   Harness
	b   appcache.RawBackend
	ctx context.Context
}

func (c *checker) needBackend(field string) {
	c.Helper()
	if c.b == nil {
		c.Fatalf("Harness.%s returned no backend", field)
	}
}

// set stores value under key.
func (c *checker) set(key string, value []byte, ttl time.Duration) {
	c.Helper()
	c.must(c.trySet(key, value, ttl))
}

// hit wants value under key.
func (c *checker) hit(key string, value []byte) {
	c.Helper()
	c.must(c.tryHit(key, value))
}

// miss wants nothing under key.
func (c *checker) miss(key string) {
	c.Helper()
	c.must(c.tryMiss(key))
}

// invalidate removes key.
func (c *checker) invalidate(key string) {
	c.Helper()
	c.must(c.tryInvalidate(key))
}

// clear removes every entry.
func (c *checker) clear() {
	c.Helper()
	if err := c.b.Clear(c.ctx); err != nil {
		c.Fatalf("Clear returned the error %q", err)
	}
}

func (c *checker) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *checker) trySet(key string, value []byte, ttl time.Duration) error {
	if err := c.b.SetRaw(c.ctx, key, value, ttl); err != nil {
		return fmt.Errorf("SetRaw(%s, %s, %v) returned the error %q", quote(key), quote(value), ttl, err)
	}
	return nil
}

func (c *checker) tryInvalidate(key string) error {
	if err := c.b.InvalidateRaw(c.ctx, key); err != nil {
		return fmt.Errorf("InvalidateRaw(%s) returned the error %q", quote(key), err)
	}
	return nil
}

func (c *checker) tryHit(key string, want []byte) error {
	value, found, err := c.tryGet(key)
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("GetRaw(%s) is a miss, want the value %s", quote(key), quote(want))
	case !bytes.Equal(value, want):
		return fmt.Errorf("GetRaw(%s) returned %s, want %s", quote(key), quote(value), quote(want))
	}
	return nil
}

func (c *checker) tryMiss(key string) error {
	value, found, err := c.tryGet(key)
	switch {
	case err != nil:
		return err
	case found:
		return fmt.Errorf("GetRaw(%s) is a hit with the value %s, want a miss", quote(key), quote(value))
	}
	return nil
}

// tryGet returns an error also when the results contradict each other.
func (c *checker) tryGet(key string) (value []byte, found bool, err error) {
	value, found, err = c.b.GetRaw(c.ctx, key)
	switch {
	case err != nil && found:
		return nil, false, fmt.Errorf("GetRaw(%s) returned found together with the error %q", quote(key), err)
	case err != nil:
		return nil, false, fmt.Errorf("GetRaw(%s) returned the error %q", quote(key), err)
	case !found && value != nil:
		return nil, false, fmt.Errorf("GetRaw(%s) is a miss with the value %s, want nil", quote(key), quote(value))
	}
	return value, found, nil
}

// quote shows a key or value, and of a long one the beginning, the end and the size.
func quote[T string | []byte](s T) string {
	if len(s) <= 80 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q…%q (%d bytes)", s[:30], s[len(s)-30:], len(s))
}

// together calls f(0) to f(n-1), each in a goroutine, and returns the first errors once all are done.
func together(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	return errors.Join(errs[:min(len(errs), 3)]...) // the others say the same
}
