package appcache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

// Each call is one event, which says what happened.
func TestEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		var r recorder
		b := newSpy()
		cache := appcache.New[[]byte](b, &appcache.Options{Observe: r.observe})
		set := func(context.Context, []byte) error { return nil }
		slow := func(context.Context) ([]byte, error) {
			time.Sleep(time.Second)
			return []byte("1234"), nil
		}
		via := appcache.Event{Op: appcache.OpGetVia, Key: "appcache/k"}
		with := func(e appcache.Event, o appcache.Outcome, size int, err error) appcache.Event {
			e.Outcome, e.Size, e.Err = o, size, err
			return e
		}
		get := appcache.Event{Op: appcache.OpGet, Key: "appcache/k"}
		all := func(err error) func() { return func() { b.fail(err, err, err) } }

		for _, c := range []struct {
			name   string
			before func()
			call   func() error
			want   appcache.Event
		}{
			{"miss", nil, func() error { _, _, err := cache.Get(ctx, viaKey); return err }, with(get, appcache.Miss, 0, nil)},
			{"via a getter", nil, func() error { _, err := cache.GetVia(ctx, viaKey, 0, slow); return err },
				appcache.Event{Op: appcache.OpGetVia, Outcome: appcache.Miss, Key: "appcache/k", Size: 4, Duration: time.Second}},
			{"via, hit", nil, func() error { _, err := cache.GetVia(ctx, viaKey, 0, slow); return err }, with(via, appcache.Hit, 4, nil)},
			{"hit", nil, func() error { _, _, err := cache.Get(ctx, viaKey); return err }, with(get, appcache.Hit, 4, nil)},
			{"hit by string", nil, func() error { _, _, err := cache.GetByStr(ctx, "k"); return err }, with(get, appcache.Hit, 4, nil)},
			{"set", nil, func() error { return cache.Set(ctx, viaKey, []byte("12"), 0) },
				appcache.Event{Op: appcache.OpSet, Outcome: appcache.Done, Key: "appcache/k", Size: 2}},
			{"set by string", nil, func() error { return cache.SetByStr(ctx, "k", []byte("12"), 0, false) },
				appcache.Event{Op: appcache.OpSet, Outcome: appcache.Done, Key: "appcache/k", Size: 2}},
			{"set via", nil, func() error { return cache.SetVia(ctx, viaKey, []byte("12"), 0, set) },
				appcache.Event{Op: appcache.OpSetVia, Outcome: appcache.Done, Key: "appcache/k", Size: 2}},
			{"invalidate", nil, func() error { return cache.Invalidate(ctx, viaKey) },
				appcache.Event{Op: appcache.OpInvalidate, Outcome: appcache.Done, Key: "appcache/k"}},
			{"invalidate namespace", nil, func() error { return cache.InvalidateNamespace(ctx, likesOf) },
				appcache.Event{Op: appcache.OpInvalidateNamespace, Outcome: appcache.Done, Key: tokenKey}},
			{"clear", nil, func() error { return cache.Clear(ctx) }, appcache.Event{Op: appcache.OpClear, Outcome: appcache.Done}},
			{"get fails", all(errDown), func() error { _, _, _ = cache.Get(ctx, viaKey); return nil }, with(get, appcache.Failed, 0, errDown)},
			{"set fails", nil, func() error { _ = cache.Set(ctx, viaKey, []byte("12"), 0); return nil },
				appcache.Event{Op: appcache.OpSet, Outcome: appcache.Failed, Key: "appcache/k", Size: 2, Err: errDown}},
			// An outage isn't a low hit ratio.
			{"via, past a dead store", nil, func() error { _, err := cache.GetVia(ctx, viaKey, 0, neverSlow); return err },
				with(via, appcache.Failed, 2, errDown)},
			{"via, not stored", func() { b.fail(nil, errDown, nil) }, func() error { _, err := cache.GetVia(ctx, viaKey, 0, neverSlow); return err },
				with(via, appcache.Miss, 2, errDown)},
			{"getter fails", nil, func() error {
				_, _ = cache.GetVia(ctx, viaKey, 0, func(context.Context) ([]byte, error) { return nil, errOrigin })
				return nil
			}, with(via, appcache.Miss, 0, errOrigin)},
			{"set via, not stored", nil, func() error { return cache.SetVia(ctx, viaKey, []byte("12"), 0, set) },
				appcache.Event{Op: appcache.OpSetVia, Outcome: appcache.Done, Key: "appcache/k", Size: 2, Err: errDown}},
			{"negative TTL", all(nil), func() error { _ = cache.Set(ctx, viaKey, nil, -1); return nil },
				appcache.Event{Op: appcache.OpSet, Outcome: appcache.Failed, Key: "appcache/k", Err: appcache.ErrNegativeTTL}},
			{"no namespace", nil, func() error { _, _, err := cache.Get(ctx, likes(likesOf)); return err },
				appcache.Event{Op: appcache.OpGet, Outcome: appcache.Miss, Key: "appcache/users/54/@…/likes"}},
		} {
			if c.before != nil {
				c.before()
			}
			require.NoError(t, c.call(), c.name)
			require.Equal(t, c.want, r.one(t), c.name)
		}
	})
}

func neverSlow(context.Context) ([]byte, error) { return []byte("12"), nil }

// An entry that can't be read is told apart from one that isn't there, with the reason.
func TestUnreadableEvent(t *testing.T) {
	t.Parallel()
	var r recorder
	b := newSpy()
	cache := appcache.New[user](b, &appcache.Options{Observe: r.observe})
	put(t, b.Memory, "appcache/users/54", "garbage")
	_, found, err := cache.Get(t.Context(), userKey{id: "54"})
	require.NoError(t, err)
	require.False(t, found)
	e := r.one(t)
	require.Equal(t, appcache.Unreadable, e.Outcome)
	require.Equal(t, len("garbage"), e.Size)
	require.Error(t, e.Err)

	got, err := cache.GetVia(t.Context(), userKey{id: "54"}, 0, func(context.Context) (user, error) { return user{ID: 54}, nil })
	require.NoError(t, err)
	require.Equal(t, 54, got.ID)
	e = r.one(t)
	require.Equal(t, appcache.Unreadable, e.Outcome)
	require.Error(t, e.Err)
	_, found, err = cache.Get(t.Context(), userKey{id: "54"})
	require.NoError(t, err)
	require.True(t, found, "the unreadable entry wasn't replaced")
}

// Observe gets the caller's context.
func TestObserveContext(t *testing.T) {
	t.Parallel()
	type id struct{}
	var got any
	cache := appcache.New[[]byte](newSpy(), &appcache.Options{Observe: func(ctx context.Context, _ appcache.Event) { got = ctx.Value(id{}) }})
	_, _, err := cache.Get(context.WithValue(t.Context(), id{}, 7), viaKey)
	require.NoError(t, err)
	require.Equal(t, 7, got)
}

// A Set that panics, because something of the caller's does, is told of before that.
func TestEventOfASetThatPanics(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(t *testing.T, opts *appcache.Options) error{
		"Marshal": func(t *testing.T, opts *appcache.Options) error {
			opts.Serialiser = appcache.SerialiserOf(panicsCodec, asItIs)
			return appcache.New[[]byte](cachetest.NewMemory(), opts).Set(t.Context(), viaKey, nil, 0)
		},
		"ShouldCompress": func(t *testing.T, opts *appcache.Options) error {
			return appcache.New[[]byte](cachetest.NewMemory(), opts).Set(t.Context(), badKey{}, nil, 0)
		},
	} {
		var r recorder
		require.Panics(t, func() { _ = set(t, &appcache.Options{Observe: r.observe}) }, name)
		e := r.one(t)
		require.Equal(t, appcache.OpSet, e.Op, name)
		require.Equal(t, appcache.Failed, e.Outcome, name)
		require.Error(t, e.Err, name)
	}
}
