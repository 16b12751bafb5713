package testserver_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDiesWithParent(t *testing.T) {
	t.Parallel()
	test, err := os.Executable()
	require.NoError(t, err)
	child := exec.Command(test)
	child.Env = append(os.Environ(), "TESTSERVER_ORPHAN=1")
	out, err := child.Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
	addr := strings.TrimSpace(string(out))
	require.NotEmpty(t, addr)
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, 20*time.Second, 10*time.Millisecond, "the server outlives the test process")
}
