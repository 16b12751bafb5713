// Custombackend shows how to put a store of your own under the cache. Here it is a folder of files.
// The four methods in files.go are all there is to write: typed keys, TTLs, read-through, namespaces
// and the rest come with appcache.New. The test beside it checks the store with
// cachetest.TestBackend, as the test of yours should.
//
//	go run ./examples/custombackend               in a temporary folder
//	go run ./examples/custombackend -dir FOLDER   in one that stays: run it twice
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/goappcache/appcache"
)

// page is what is kept: a page of an article, ready to be shown.
type page struct {
	Title    string
	Rendered time.Time
}

// pageKey is where: at articles/7/@<token>/pages/1, in the namespace of its article.
type pageKey struct {
	appcache.BaseKey[page]
	article, number int
}

func (k pageKey) CacheKeySegments() []string { return []string{"pages", strconv.Itoa(k.number)} }

func (k pageKey) NamespaceKey() appcache.NamespaceKey { return article(k.article) }

// article is the namespace of everything that is kept about one article.
func article(number int) appcache.Generation {
	return appcache.Generation("articles/" + strconv.Itoa(number))
}

func main() {
	dir := flag.String("dir", "", "the `folder` to cache in (default a temporary one)")
	flag.Parse()
	if err := run(context.Background(), *dir); err != nil {
		fmt.Fprintln(os.Stderr, "custombackend:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string) error {
	if dir == "" {
		temp, err := os.MkdirTemp("", "custombackend-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(temp) }()
		dir = temp
	}
	files := NewFiles(dir)
	cache := appcache.New[page](files, nil)

	fmt.Println("Three pages, read through the cache:")
	if err := show(ctx, cache); err != nil {
		return err
	}
	fmt.Println("The same once more:")
	if err := show(ctx, cache); err != nil {
		return err
	}
	if err := cache.InvalidateNamespace(ctx, article(7)); err != nil {
		return err
	}
	fmt.Println("Article 7 changed, and its namespace was dropped:")
	if err := show(ctx, cache); err != nil {
		return err
	}
	path, err := cache.Path(ctx, pageKey{article: 7, number: 1})
	if err != nil {
		return err
	}
	fmt.Printf("The first page is now under the key\n  %s\nin the file\n  %s\n", path, files.path(path))
	return files.Sweep(ctx) // nothing so far, but in a folder that stays there may be something
}

// show reads three pages, of two articles, and says where each comes from.
func show(ctx context.Context, cache *appcache.Cache[page]) error {
	for _, key := range []pageKey{{article: 7, number: 1}, {article: 7, number: 2}, {article: 8, number: 1}} {
		from := "the cache"
		p, err := cache.GetVia(ctx, key, time.Hour, func(context.Context) (page, error) {
			from = "the renderer, and is stored for an hour"
			return page{Title: fmt.Sprintf("Article %d, page %d", key.article, key.number), Rendered: time.Now()}, nil
		})
		if err != nil {
			return err
		}
		fmt.Printf("  %q comes from %s\n", p.Title, from)
	}
	return nil
}
