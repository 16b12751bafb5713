package appcache_test

import (
	"os"
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"github.com/goappcache/appcache/internal/testserver"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis writes a line for each time that it can't dial
	os.Exit(testserver.Main(m, nil))
}
