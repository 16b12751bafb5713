package appcache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

// Whatever stands after an envelope's magic, GetVia returns a value, or that there is none where the
// flags say so. With flags that we don't know it is a miss, and what the getter returns is stored in its
// place.
func FuzzEnvelope(f *testing.F) {
	f.Fuzz(func(t *testing.T, flags byte, rest []byte) {
		for _, opts := range []appcache.Options{{}, {StaleFor: time.Hour, EarlyRefresh: 1, NotFoundTTL: time.Hour, Jitter: 0.5}} {
			opts.Compressor = appcache.Gzip{MaxSize: 1 << 20}
			b := cachetest.NewMemory()
			put(t, b, "appcache/k", string(append([]byte(magic), append([]byte{flags}, rest...)...)))
			cache := appcache.New[[]byte](b, &opts)
			_, found, err := cache.Get(t.Context(), viaKey)
			require.NoError(t, err)
			called := false
			got, err := cache.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) {
				called = true
				return []byte("loaded"), nil
			})
			switch {
			case flags >= 0x10:
				require.False(t, found)
				require.NoError(t, err)
				require.Equal(t, "loaded", string(got))
				require.Equal(t, "loaded", stored(t, b, "appcache/k"))
			case errors.Is(err, appcache.ErrNotFound):
				require.NotZero(t, flags&8)
				require.False(t, found)
				require.False(t, called)
			default:
				require.NoError(t, err)
				if found {
					require.False(t, called)
				}
			}
		}
	})
}
