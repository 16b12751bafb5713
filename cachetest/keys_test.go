package cachetest_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goappcache/appcache"
)

// notEmpty keeps a mapping of keys from making one that no store takes.
func notEmpty(mapped func(string) string) func(string) string {
	return func(key string) string {
		if m := mapped(key); m != "" {
			return m
		}
		return key
	}
}

func hashed(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

var brokenKeys = []broken{
	{
		name: "folds the case of keys",
		wrap: withKeys(func(key string) string {
			return strings.Map(func(r rune) rune {
				if 'A' <= r && r <= 'Z' {
					return r + 'a' - 'A'
				}
				return r
			}, strings.ToValidUTF8(key, "?")+hashed(strings.ToLower(key)))
		}),
		fails: []string{"keys that differ in case"}, others: true,
	},
	{
		name:  "cuts keys at 250 bytes",
		wrap:  withKeys(func(key string) string { return key[:min(len(key), 250)] }),
		fails: []string{"long keys", "keys with a common beginning"},
	},
	{
		name:  "cuts keys at 65,535 bytes",
		wrap:  withKeys(func(key string) string { return key[:min(len(key), 65535)] }),
		fails: []string{"long keys"},
	},
	{
		name: "refuses long keys",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if len(key) > 250 {
					return errors.New("malformed: key is too long or contains invalid characters")
				}
				return good.SetRaw(ctx, key, value, ttl)
			}}
		},
		fails: []string{"long keys", "keys with a common beginning", "keys that look mapped"},
	},
	{
		name:  "trims spaces from the end of keys",
		wrap:  withKeys(notEmpty(func(key string) string { return strings.TrimRight(key, " ") })),
		fails: []string{"keys that differ at an end", "keys that look mapped"},
	},
	{
		name:  "trims slashes from keys",
		wrap:  withKeys(notEmpty(func(key string) string { return strings.Trim(key, "/") })),
		fails: []string{"keys that differ at an end", "keys that look mapped", "keys with metacharacters", "long keys"},
	},
	{
		name:  "cleans keys as paths",
		wrap:  withKeys(path.Clean),
		fails: []string{"keys that differ at an end", "keys with metacharacters"}, others: true,
	},
	{
		name: "ends keys at a NUL",
		wrap: withKeys(notEmpty(func(key string) string {
			before, _, _ := strings.Cut(key, "\x00")
			return before
		})),
		fails: []string{"keys with spaces and control bytes", "keys that differ at an end", "keys that look mapped"},
	},
	{
		name: "leaves control bytes out",
		wrap: withKeys(notEmpty(func(key string) string {
			return strings.Trim(strings.NewReplacer("\r", "", "\n", "").Replace(key), "\t")
		})),
		fails: []string{"keys with spaces and control bytes", "keys that differ at an end"}, others: true,
	},
	{
		name: "refuses spaces in keys",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if strings.HasPrefix(key, "a ") {
					return errors.New("malformed: key is too long or contains invalid characters")
				}
				return good.SetRaw(ctx, key, value, ttl)
			}}
		},
		fails: []string{"keys with spaces and control bytes", "keys that differ at an end", "keys that look mapped"},
	},
	{
		name:  "replaces in keys what isn't UTF-8",
		wrap:  withKeys(func(key string) string { return strings.ToValidUTF8(key, "\ufffd") }),
		fails: []string{"keys that aren't UTF-8", "keys that look mapped"},
	},
	{
		name:  "normalises keys",
		wrap:  withKeys(strings.NewReplacer("e\u0301", "é", "A\u030a", "Å", "\u212b", "Å").Replace),
		fails: []string{"keys in several Unicode forms"},
	},
	{
		name: "takes keys for numbers",
		wrap: withKeys(func(key string) string {
			if n, err := strconv.ParseFloat(key, 64); err == nil {
				return strconv.FormatFloat(n, 'g', -1, 64)
			}
			return key
		}),
		fails: []string{"keys that look like numbers"},
	},
	{
		name: "takes keys for patterns when it removes",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			var keys sync.Map
			return &wrapper{
				RawBackend: good,
				set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
					keys.Store(key, true)
					return good.SetRaw(ctx, key, value, ttl)
				},
				invalidate: func(ctx context.Context, pattern string) error {
					keys.Range(func(key, _ any) bool {
						if len(pattern) > 10 { // the long ones take their time
							return false
						}
						if matched, _ := path.Match(pattern, key.(string)); matched && ctx.Err() == nil {
							_ = good.InvalidateRaw(ctx, key.(string))
						}
						return true
					})
					return good.InvalidateRaw(ctx, pattern)
				},
			}
		},
		fails: []string{"keys with metacharacters"}, others: true,
	},
	{
		name:  "decodes keys",
		wrap:  withKeys(func(key string) string { return strings.NewReplacer("%2F", "/", "%25", "%", "%20", " ").Replace(key) }),
		fails: []string{"keys with metacharacters", "keys that look mapped"},
	},
	{
		name: "maps long keys to a hash, and hashes to themselves",
		wrap: withKeys(func(key string) string {
			if len(key) > 250 {
				return hashed(key)
			}
			return key
		}),
		fails: []string{"keys that look mapped"},
	},
	{
		name: "maps long keys to their beginning and a hash, and those to themselves",
		wrap: withKeys(func(key string) string {
			if len(key) > 250 {
				return key[:185] + "#" + hashed(key)
			}
			return key
		}),
		fails: []string{"keys that look mapped"},
	},
	{
		name:  "escapes spaces, but not the escapes",
		wrap:  withKeys(func(key string) string { return strings.ReplaceAll(key, " ", "%20") }),
		fails: []string{"keys that look mapped"},
	},
}
