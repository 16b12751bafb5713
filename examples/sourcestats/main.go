// Sourcestats counts what is in Go source, and keeps what it counted in a SQLite file: the second run
// parses only what has changed since, and says how much faster that was.
//
//	go run ./examples/sourcestats              Go's own source, about ten thousand files
//	go run ./examples/sourcestats FOLDER       every .go file below a folder
//	go run ./examples/sourcestats -cache FILE FOLDER
//
// Without -cache the file is in the user's cache folder. Ctrl-C loses nothing: what was parsed is
// kept, and the next run goes on from there.
//
// Parsing a file is in parse.go, adding up and printing in report.go, the line of progress in
// progress.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/sqlitelru"
)

// maxSize returns how many entries the cache may have: more than there are files. An LRU cache that is
// a little too small for what is read in the same order each time evicts each entry before its turn.
func maxSize(files int) int { return max(100_000, 2*files) }

// sourceFile is a file, and the key of its statistics. When the file changes it is another key, and
// what was kept under the old one is the first to be evicted, for nobody looks it up again.
type sourceFile struct {
	appcache.BaseKey[fileStats]
	path     string
	size     int64
	modified time.Time
}

func (f sourceFile) CacheKeySegments() []string {
	return []string{"files", f.path, strconv.FormatInt(f.size, 10), strconv.FormatInt(f.modified.UnixNano(), 10)}
}

// firstRunKey is where it is kept how long the first run over a folder took.
type firstRunKey struct {
	appcache.BaseKey[firstRun]
	folder string
}

func (k firstRunKey) CacheKeySegments() []string { return []string{"first run", k.folder} }

type firstRun struct {
	Took     time.Duration
	Finished bool // or it was interrupted, and the next one goes on
}

func main() {
	cacheFile := flag.String("cache", "", "the `file` to cache in (default one in the user's cache folder)")
	flag.Parse()
	if flag.NArg() > 1 {
		fmt.Fprintf(os.Stderr, "sourcestats: one folder, not %q\n", flag.Args())
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second ctrl-C doesn't wait
	if err := run(ctx, flag.Arg(0), *cacheFile); err != nil {
		fmt.Fprintln(os.Stderr, "sourcestats:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder, cacheFile string) (err error) {
	if folder, err = sourceFolder(ctx, folder); err != nil {
		return err
	}
	if cacheFile, err = cachePath(cacheFile); err != nil {
		return err
	}
	begin := time.Now()
	files, err := findFiles(ctx, folder)
	if err != nil {
		return err
	}

	backend, err := sqlitelru.Open(cacheFile, &sqlitelru.Options{MaxSize: maxSize(len(files))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	var cache observer
	opts := &appcache.Options{Prefix: "sourcestats", Observe: cache.observe}
	stats := appcache.New[fileStats](backend, opts)
	runs := appcache.New[firstRun](backend, opts)

	results := countAll(ctx, stats, files)
	took, interrupted := time.Since(begin), ctx.Err() != nil

	hits := int(cache.hits.Load())
	first := rememberFirst(context.WithoutCancel(ctx), runs, folder, hits, firstRun{Took: took, Finished: !interrupted})
	if err := cache.failure(); err != nil {
		fmt.Fprintln(os.Stderr, "sourcestats: the cache was of little use:", err)
	}
	if interrupted {
		return fmt.Errorf("interrupted: %s of %s files are done and kept, and the next run goes on from there",
			thousands(results.done()), thousands(len(files)))
	}
	if err := results.print(os.Stdout, folder); err != nil {
		return err
	}
	return printTimes(os.Stdout, len(files), hits, took, first)
}

// sourceFolder returns the absolute path of a folder. "" is Go's own source.
func sourceFolder(ctx context.Context, folder string) (string, error) {
	if folder != "" {
		return filepath.Abs(folder)
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("looking for Go's own source; name a folder instead: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src"), nil
}

// cachePath returns the path of the cache's file, in a folder that is there.
func cachePath(file string) (string, error) {
	if file != "" {
		return file, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for a place to cache in; give one with -cache: %w", err)
	}
	dir = filepath.Join(dir, "appcache-sourcestats")
	return filepath.Join(dir, "stats.db"), os.MkdirAll(dir, 0o700)
}

// findFiles returns the .go files below a folder. What can't be read below it is left out.
func findFiles(ctx context.Context, folder string) ([]sourceFile, error) {
	var files []sourceFile
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if path == folder {
				return err
			}
			fmt.Fprintln(os.Stderr, "sourcestats:", err)
			return nil
		}
		if !entry.Type().IsRegular() || filepath.Ext(path) != ".go" {
			return nil
		}
		if info, err := entry.Info(); err == nil { // or it was removed meanwhile
			files = append(files, sourceFile{path: path, size: info.Size(), modified: info.ModTime()})
		}
		return nil
	})
	return files, err
}

// countAll returns the statistics of files, from the cache or from parsing them, in their order. When ctx is
// done it leaves out the rest.
func countAll(ctx context.Context, stats *appcache.Cache[fileStats], files []sourceFile) results {
	all := make(results, len(files))
	var next, done atomic.Int64
	stopProgress := showProgress(&done, len(files))
	defer stopProgress()

	whole := context.WithoutCancel(ctx) // a file that was begun is finished, and kept
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(files) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				file := files[i]
				// For ever, as the key says of which state of the file it is.
				found, err := stats.GetVia(whole, file, 0, func(context.Context) (fileStats, error) {
					return parse(file.path)
				})
				all[i] = result{path: file.path, stats: found, err: err}
				done.Add(1)
			}
		})
	}
	workers.Wait()
	return all
}

// rememberFirst returns the first run over the folder before this one, and keeps this one if it is the
// first. One that was interrupted and those that finish what it began count as one.
func rememberFirst(ctx context.Context, runs *appcache.Cache[firstRun], folder string, hits int, this firstRun) (first firstRun) {
	key := firstRunKey{folder: folder}
	first, found, err := runs.Get(ctx, key)
	if err != nil || first.Finished {
		return first
	}
	if !found && hits > 0 {
		return firstRun{} // these files were parsed for a folder above or below it
	}
	this.Took += first.Took
	_ = runs.Set(ctx, key, this, 0) // the observer hears of an error
	return firstRun{}
}

// observer counts the cache's hits, and keeps its first error: GetVia goes on without the cache, and
// we are only told.
type observer struct {
	hits atomic.Int64
	err  atomic.Pointer[error]
}

func (o *observer) observe(_ context.Context, e appcache.Event) {
	if e.Op == appcache.OpGetVia && e.Outcome == appcache.Hit {
		o.hits.Add(1)
	}
	var ofFile *fs.PathError // of the getter, and no error of the cache
	if e.Err != nil && !errors.As(e.Err, &ofFile) {
		o.err.CompareAndSwap(nil, &e.Err)
	}
}

func (o *observer) failure() error {
	if err := o.err.Load(); err != nil {
		return *err
	}
	return nil
}
