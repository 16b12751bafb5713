package appcache

import (
	"context"
	"time"
)

// Bounded is for tests.
func Bounded(ctx context.Context, timeout time.Duration) (context.Context, func()) {
	ctx, b := bounded(ctx, timeout)
	return ctx, b.release
}

// ErrEnvelope is for tests.
var ErrEnvelope = errEnvelope
