//go:build race

package sqlitelru_test

// raceEnabled says that everything is ten times slower.
const raceEnabled = true
