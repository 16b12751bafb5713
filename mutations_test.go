package appcache_test

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/goappcache/appcache/internal/flight"
	"github.com/stretchr/testify/require"
)

// withoutEnv is the protection that the process is to go without.
const withoutEnv = "APPCACHE_TEST_WITHOUT"

// maxHistories is how many histories of each kind may pass until a protection that is missing is noticed.
const maxHistories = 2000

// Each protection is needed: without it a checker finds what is wrong. It is switched off in a process of its
// own, since the table is that of a process.
func TestEachProtectionIsNeeded(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		p    flight.Protection
	}{
		{"one table for all caches", flight.OneTable},
		{"marking", flight.Marking},
		{"waiting for write-backs", flight.Waiting},
		{"marking again at the writer's end", flight.SecondMarking},
		{"not storing while a writer is at work", flight.StoringNoneWith},
		{"looking again", flight.LookingAgain},
		{"SetVia noticing other writers", flight.OverlapDetection},
		{"nobody joining what is marked", flight.JoiningNoMarked},
		{"the token before the load", flight.TokenFirst},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestWithoutProtection$", "-test.v")
			cmd.Env = append(os.Environ(), withoutEnv+"="+strconv.Itoa(int(c.p)))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			t.Logf("%s", out)
		})
	}
}

// TestWithoutProtection is what a process without a protection runs.
func TestWithoutProtection(t *testing.T) {
	p, err := strconv.Atoi(os.Getenv(withoutEnv))
	if err != nil {
		return // not such a process
	}
	flight.Off = flight.Protection(p)
	for seed := range uint64(maxHistories) {
		for _, kind := range historyKinds {
			if s := inMemory(t, kind.play, seed); s != "" {
				t.Logf("noticed in history %d: %s", seed, s)
				return
			}
		}
	}
	t.Errorf("not noticed in %d histories of each kind", maxHistories)
}
