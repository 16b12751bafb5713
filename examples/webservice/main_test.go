package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/sqlitelru"
)

// TestMain lets the test's own executable be the program: see program.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_PROGRAM") != "" {
		main()
		return
	}
	sqlitelru.InMemoryDB() // is never closed
	os.Exit(testserver.Main(m, nil))
}

func program(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RUN_PROGRAM=1")
	return cmd
}

func TestFlags(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"no such flag", []string{"-port", "80"}, 2, "flag provided but not defined: -port"},
		{"no such backend", []string{"-backend", "dbm"}, 2, `-backend is "dbm"; write sqlite, redis or memcache`},
		{"an address for SQLite", []string{"-addr", "localhost:1"}, 2, "-addr is for -backend redis and memcache"},
		{"not an address", []string{"-backend", "memcache", "-addr", "localhost"}, 1, "webservice: memcache: "},
		{"a folder for the users", []string{"-db", os.TempDir()}, 1, "making the tables in "},
		{"a port that is taken", []string{"-listen", taken(t)}, 1, "address already in use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := program(t, tt.args...)
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			require.Equal(t, tt.code, cmd.ProcessState.ExitCode(), "%s", out)
			require.Contains(t, string(out), tt.stderr)
		})
	}
}

func taken(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// The program, told to end in the middle of a request, answers that and takes no other.
func TestGracefulShutdown(t *testing.T) {
	t.Parallel()
	redis := testserver.Redis(t)
	cmd := program(t, "-listen", "127.0.0.1:0", "-backend", "redis", "-addr", redis.Addr)
	temp := t.TempDir()
	cmd.Env = append(cmd.Env, "TMPDIR="+temp)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	log := bufio.NewReader(stderr)
	line, err := log.ReadString('\n')
	require.NoError(t, err)
	match := regexp.MustCompile(`serving url=http://(\S+) `).FindStringSubmatch(line)
	require.NotNil(t, match, line)

	conn, err := net.Dial("tcp", match[1])
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	const body = `{"name": "Ada King"}`
	_, err = fmt.Fprintf(conn, "PUT /users/54 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	require.NoError(t, err)
	answers := bufio.NewReader(conn)
	status, err := answers.ReadString('\n') // the handler reads the body
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", status)
	_, err = answers.ReadString('\n')
	require.NoError(t, err)

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	line, err = log.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "shutting down")
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", match[1])
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	}, 10*time.Second, 5*time.Millisecond)
	_, err = io.WriteString(conn, body)
	require.NoError(t, err)
	response, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, http.StatusOK, response.StatusCode)

	rest, err := io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), "%s", rest)
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, err)
	require.Empty(t, strings.Join(left, " "), "it must clean up after itself")
}
