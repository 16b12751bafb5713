package redis

import goredis "github.com/redis/go-redis/v9"

// Client is the client that a backend uses.
func Client(b *Backend) goredis.UniversalClient { return b.client }
