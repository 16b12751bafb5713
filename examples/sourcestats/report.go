package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// results are what is known of each file, in the order of their paths.
type results []result

type result struct {
	path  string // "": not done
	stats fileStats
	err   error // it can't be read
}

// done returns how many files were looked at.
func (r results) done() int {
	n := 0
	for _, file := range r {
		if file.path != "" && file.err == nil {
			n++
		}
	}
	return n
}

// print writes the totals of files below folder.
func (r results) print(w io.Writer, folder string) error {
	var total fileStats
	var tests, broken, unreadable int
	imports := map[string]int{}
	for _, file := range r {
		switch {
		case file.err != nil:
			unreadable++
			continue
		case file.stats.Broken:
			broken++
		}
		if strings.HasSuffix(file.path, "_test.go") {
			tests++
		}
		total.Lines += file.stats.Lines
		total.Comments += file.stats.Comments
		total.Types += file.stats.Types
		total.Functions += file.stats.Functions
		for _, path := range file.stats.Imports {
			imports[path]++
		}
	}

	var text strings.Builder
	row := func(count int, name string) { fmt.Fprintf(&text, "  %12s\t%s\n", thousands(count), name) }
	fmt.Fprintln(&text, folder)
	row(len(r), "files")
	row(tests, "of them tests")
	row(broken, "of them can't be parsed: only their lines are counted")
	row(unreadable, "of them can't be read")
	row(total.Lines, "lines")
	row(total.Comments, "of them comments")
	row(total.Functions, "functions and methods")
	row(total.Types, "types")
	row(len(imports), "different imports")

	fmt.Fprintln(&text, "\nImported by most files")
	for _, path := range mostImported(imports, 10) {
		row(imports[path], path)
	}
	fmt.Fprintln(&text, "\nLongest functions, one of a file, in lines")
	for _, file := range r.longest(5) {
		where, err := filepath.Rel(folder, file.path)
		if err != nil {
			where = file.path
		}
		row(file.stats.Longest.Lines, fmt.Sprintf("%s\t%s:%d", file.stats.Longest.Name, where, file.stats.Longest.Line))
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, text.String()); err != nil {
		return err
	}
	return table.Flush()
}

// mostImported returns up to n paths, those with the most imports first.
func mostImported(imports map[string]int, n int) []string {
	paths := slices.SortedFunc(maps.Keys(imports), func(a, b string) int {
		return cmp.Or(cmp.Compare(imports[b], imports[a]), cmp.Compare(a, b))
	})
	return paths[:min(n, len(paths))]
}

// longest returns up to n files that have a function, those with the longest first.
func (r results) longest(n int) results {
	files := slices.DeleteFunc(slices.Clone(r), func(f result) bool { return f.stats.Longest.Lines == 0 })
	slices.SortStableFunc(files, func(a, b result) int { return cmp.Compare(b.stats.Longest.Lines, a.stats.Longest.Lines) })
	return files[:min(n, len(files))]
}

// printTimes says what the cache was good for.
func printTimes(w io.Writer, files, hits int, took time.Duration, first firstRun) error {
	comparison := ""
	switch {
	case first.Finished:
		comparison = fmt.Sprintf(", the first one %v: it was %.1f times as fast", rounded(first.Took), first.Took.Seconds()/took.Seconds())
	case hits == 0:
		comparison = "; the next one will be faster"
	}
	_, err := fmt.Fprintf(w, "\n%s of %s files came from the cache. This run took %v%s.\n",
		thousands(hits), thousands(files), rounded(took), comparison)
	return err
}

func rounded(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
