package appcache_test

import (
	"os"
	"testing"

	"github.com/goappcache/appcache/internal/testserver"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m, nil)) }
