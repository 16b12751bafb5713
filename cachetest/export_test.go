package cachetest

import "testing"

// Cases returns the cases that TestBackend would run.
func Cases(h Harness) []Case {
	var exported []Case
	for _, tc := range cases(h) {
		exported = append(exported, Case{tc})
	}
	return exported
}

// Case is a testCase for the tests of the kit.
type Case struct{ tc testCase }

func (c Case) Name() string                 { return c.tc.name }
func (c Case) Rule() string                 { return c.tc.rule }
func (c Case) Test(t testing.TB, h Harness) { c.tc.test(t, h) }

// Entries returns how many entries m holds, expired ones too.
func Entries(m *Memory) int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.entries)
}
