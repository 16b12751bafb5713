package testserver_test

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tests stands for a testing.M.
type tests func() int

func (t tests) Run() int { return t() }

// leaks are what tests may leave behind.
var leaks = map[string]tests{
	"nothing": func() int { return 0 },
	"a goroutine that ends": func() int {
		go time.Sleep(100 * time.Millisecond)
		return 0
	},
	"a goroutine": func() int {
		go time.Sleep(time.Hour)
		return 0
	},
	"a listener": func() int {
		kept, _ = net.Listen("tcp", "127.0.0.1:0")
		return 0
	},
	"what the runtime keeps": func() int {
		c := make(chan os.Signal, 1)
		signal.Notify(c)
		signal.Stop(c)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil || l.Close() != nil {
			return 4
		}
		return 0
	},
	"a failed test": func() int {
		go time.Sleep(time.Hour)
		return 3
	},
}

var kept any // keeps what is in it from being closed by the garbage collector

func TestMainFindsLeaks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		leak string
		code int
		says []string
	}{
		{"nothing", 0, nil},
		{"a goroutine that ends", 0, nil},
		{"what the runtime keeps", 0, nil},
		{"a goroutine", 1, []string{"1s after the tests there are yet:", "created by", "main_test.go"}},
		{"a listener", 1, []string{"file ", ": socket:["}},
		{"a failed test", 3, nil},
	} {
		t.Run(tt.leak, func(t *testing.T) {
			t.Parallel()
			var said strings.Builder
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), "TESTSERVER_LEAK="+tt.leak)
			child.Stderr = &said
			_ = child.Run()
			require.Equal(t, tt.code, child.ProcessState.ExitCode(), said.String())
			for _, text := range tt.says {
				require.Contains(t, said.String(), text)
			}
			if tt.says == nil {
				require.Empty(t, said.String())
			}
		})
	}
}

// A package that starts servers and doesn't look for leaks isn't noticed otherwise.
func TestEveryPackageLooksForLeaks(t *testing.T) {
	t.Parallel()
	uses, looks := map[string]bool{}, map[string]bool{}
	require.NoError(t, filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), `appcache/internal/testserver"`) {
			uses[filepath.Dir(path)] = true
		}
		if strings.Contains(string(text), "testserver.Main(m, ") {
			looks[filepath.Dir(path)] = true
		}
		return err
	}))
	require.Greater(t, len(uses), 5)
	for folder := range uses {
		require.True(t, looks[folder], "%s uses testserver; give it a TestMain with testserver.Main", folder)
	}
}
