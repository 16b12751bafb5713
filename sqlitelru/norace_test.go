//go:build !race

package sqlitelru_test

const raceEnabled = false
