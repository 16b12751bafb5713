package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// showProgress keeps one line on the terminal up to date, until stop is called, which removes it. It
// writes nothing when stderr is no terminal.
func showProgress(done *atomic.Int64, of int) (stop func()) {
	if info, err := os.Stderr.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func() {}
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			fmt.Fprintf(os.Stderr, "\r%s of %s files", thousands(int(done.Load())), thousands(of))
			select {
			case <-tick.C:
			case <-quit:
				fmt.Fprint(os.Stderr, "\r\x1b[K") // ECMA-48: erase in line
				return
			}
		}
	}()
	return func() { close(quit); <-gone }
}
