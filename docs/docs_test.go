// Package docs_test checks the documents: the Go code of the README is a part of this file, and runs here.
package docs_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
	"github.com/goappcache/appcache/sqlitelru"
)

func TestMain(m *testing.M) {
	sqlitelru.InMemoryDB() // is never closed
	os.Exit(testserver.Main(m, nil))
}

type User struct {
	Name  string
	Likes []string
}

func loadUser(context.Context, int) (User, error) { return User{"Ada", []string{"engines"}}, nil }

func Example() {
	if err := firstLook(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: Ada
}

func firstLook(ctx context.Context) error {
	backend, err := sqlitelru.New(nil, nil) // in memory; redis.New(nil) or memcache.New(nil, nil) for a server
	if err != nil {
		return err
	}
	users := appcache.New[User](backend, nil)

	key := appcache.StringKey[User]("users/54")
	user, err := users.GetVia(ctx, key, time.Hour, func(ctx context.Context) (User, error) {
		return loadUser(ctx, 54) // called where the cache has no such entry
	})
	if err != nil {
		return err
	}
	fmt.Println(user.Name)

	err = users.Invalidate(ctx, key) // user 54 has changed: whoever asks from now on gets it loaded again
	return err
}

// LikesKey is for a page of what a user likes: users/54/likes/2, say.
type LikesKey struct {
	appcache.BaseKey[[]string]
	User, Page int
}

func (k LikesKey) CacheKeySegments() []string {
	return []string{"users", strconv.Itoa(k.User), "likes", strconv.Itoa(k.Page)}
}

func (k LikesKey) NamespaceKey() appcache.NamespaceKey {
	return appcache.Generation("users/" + strconv.Itoa(k.User))
}

func (k LikesKey) ShouldCompress(_ []string, serialised []byte) bool {
	return len(serialised) > 1024
}

func TestREADMENamespace(t *testing.T) {
	t.Parallel()
	ctx, likes := t.Context(), appcache.New[[]string](cachetest.NewMemory(), nil)
	key, ofAnother := LikesKey{User: 54, Page: 2}, LikesKey{User: 55, Page: 2}
	long := []string{strings.Repeat("engines ", 1000)}
	require.NoError(t, likes.Set(ctx, key, long, time.Hour))
	require.NoError(t, likes.Set(ctx, ofAnother, long, time.Hour))
	path, err := likes.Path(ctx, key)
	require.NoError(t, err)
	require.Regexp(t, `^appcache/users/54/@[A-Z2-7]{26}/users/54/likes/2$`, path)

	err = likes.InvalidateNamespace(ctx, appcache.Generation("users/54"))
	require.NoError(t, err)
	_, found, err := likes.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)
	value, found, err := likes.Get(ctx, ofAnother)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, long, value)
}

type Zstd struct {
	encoder *zstd.Encoder // with zstd.WithZeroFrames(true): what is empty has a frame too
	decoder *zstd.Decoder // with zstd.WithDecoderMaxMemory(64<<20)
}

func (Zstd) IsCompressed(data []byte) bool            { return bytes.HasPrefix(data, []byte("\x28\xb5\x2f\xfd")) }
func (z Zstd) Compress(data []byte) ([]byte, error)   { return z.encoder.EncodeAll(data, nil), nil }
func (z Zstd) Decompress(data []byte) ([]byte, error) { return z.decoder.DecodeAll(data, nil) }

func TestREADMECompressor(t *testing.T) {
	t.Parallel()
	encoder, err := zstd.NewWriter(nil, zstd.WithZeroFrames(true))
	require.NoError(t, err)
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(64<<20))
	require.NoError(t, err)
	t.Cleanup(decoder.Close)
	backend := cachetest.NewMemory()
	texts := appcache.New[string](backend, &appcache.Options{Compressor: Zstd{encoder, decoder}})
	for _, text := range []string{"", strings.Repeat("engines ", 1000)} {
		require.NoError(t, texts.SetByStr(t.Context(), "text", text, 0, true))
		raw, _, err := backend.GetRaw(t.Context(), "appcache/text")
		require.NoError(t, err)
		require.True(t, Zstd{}.IsCompressed(raw))
		got, found, err := texts.GetByStr(t.Context(), "text")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, text, got)
	}
}

type XML struct{}

func (XML) Marshal(v any) ([]byte, error)      { return xml.Marshal(v) }
func (XML) Unmarshal(data []byte, v any) error { return xml.Unmarshal(data, v) }

func TestREADMESerialiser(t *testing.T) {
	t.Parallel()
	ctx, backend := t.Context(), cachetest.NewMemory()
	users := appcache.New[User](backend, &appcache.Options{Prefix: "xml", Serialiser: XML{}})
	ada, err := loadUser(ctx, 54)
	require.NoError(t, err)
	require.NoError(t, users.SetByStr(ctx, "users/54", ada, 0, false))
	raw, _, err := backend.GetRaw(ctx, "xml/users/54")
	require.NoError(t, err)
	require.Equal(t, `<User><Name>Ada</Name><Likes>engines</Likes></User>`, string(raw))
	got, found, err := users.GetByStr(ctx, "users/54")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, ada, got)
}

// Ends with what the README shows of redis-cli, which sends the same command.
func TestREADMEBytes(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr})
	t.Cleanup(func() { _ = client.Close() })
	users := appcache.New[User](redis.New(client), &appcache.Options{Serialiser: appcache.JSON{}})
	ada, err := loadUser(t.Context(), 54)
	require.NoError(t, err)
	require.NoError(t, users.SetByStr(t.Context(), "users/54", ada, time.Hour, false))
	require.Contains(t, readFile(t, "../README.md"),
		"$ redis-cli get appcache/users/54\n"+server.Do(t, "GET appcache/users/54")+"\n")
}

func TestREADMEObserve(t *testing.T) {
	t.Parallel()
	opts := &appcache.Options{Observe: func(ctx context.Context, e appcache.Event) {
		slog.DebugContext(ctx, "cache", "op", e.Op, "outcome", e.Outcome, "key", e.Key, "took", e.Duration, "err", e.Err)
	}}
	_, _, err := appcache.New[string](cachetest.NewMemory(), opts).GetByStr(t.Context(), "users/54")
	require.NoError(t, err)
}

// Map keeps entries in the memory of the process, all of them.
type Map struct{ entries sync.Map } // key → item

type item struct {
	value []byte
	end   time.Time // zero: never
}

func (m *Map) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	found, ok := m.entries.Load(key)
	if !ok || ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	it := found.(item)
	if !it.end.IsZero() && !time.Now().Before(it.end) {
		return nil, false, nil
	}
	return bytes.Clone(it.value), true, nil
}

func (m *Map) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	it := item{value: bytes.Clone(value)}
	if ttl > 0 {
		it.end = time.Now().Add(ttl)
	}
	m.entries.Store(key, it)
	return nil
}

func (m *Map) InvalidateRaw(ctx context.Context, key string) error {
	if ctx.Err() == nil {
		m.entries.Delete(key)
	}
	return ctx.Err()
}

// Clear removes every entry of this Map.
func (m *Map) Clear(ctx context.Context) error {
	if ctx.Err() == nil {
		m.entries.Clear()
	}
	return ctx.Err()
}

func TestMap(t *testing.T) {
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(testing.TB) appcache.RawBackend { return new(Map) },
	})
}

// What follows checks the documents against the repository.

// The code of a document is in a file that is compiled, line by line.
func TestCodeOfDocumentsIsCompiled(t *testing.T) {
	t.Parallel()
	for doc, in := range map[string]string{"../README.md": "docs_test.go", "comparison.md": "../benchmarks/migrate/*_test.go"} {
		files, err := filepath.Glob(in)
		require.NoError(t, err)
		code := ""
		for _, file := range files {
			code += trimLines(readFile(t, file))
		}
		blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readFile(t, doc), -1)
		require.Greater(t, len(blocks), 8, doc)
		for _, block := range blocks {
			require.Contains(t, code, trimLines(block[1]), doc)
		}
	}
}

// trimLines removes the indentation, which is another in a function.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}

func documents(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("*.md")
	require.NoError(t, err)
	return append(docs, "../README.md", "../CONTRIBUTING.md", "../CHANGELOG.md", "../SECURITY.md")
}

// A document that says that a test shows something must name one that there is.
func TestTestsThatDocumentsNameExist(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{}
	require.NoError(t, filepath.WalkDir("..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				tests[f.Name.Name] = true
			}
		}
		return nil
	}))
	name := regexp.MustCompile(`\b(Test|Benchmark|Fuzz)[A-Z]\w+`)
	for _, doc := range documents(t) {
		for _, test := range name.FindAllString(readFile(t, doc), -1) {
			require.True(t, tests[test], "%s names %s; there are %v", doc, test, slices.Sorted(maps.Keys(tests)))
		}
	}
}

var (
	codeOfMarkdown = regexp.MustCompile("(?s)```.*?```|`[^`]*`")
	heading        = regexp.MustCompile(`(?m)^#+ (.+)$`)
	reference      = regexp.MustCompile(`(?m)^\[([^]]+)\]: (\S+)(?: "(.+)")?$`)
)

func TestLinksOfDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	for _, doc := range documents(t) {
		text := codeOfMarkdown.ReplaceAllString(readFile(t, doc), "")
		for _, to := range link.FindAllStringSubmatch(text, -1) {
			follow(t, doc, to[1])
		}
		for _, to := range reference.FindAllStringSubmatch(text, -1) {
			follow(t, doc, to[2])
		}
	}
}

// follow fails t where a link within the repository leads nowhere.
func follow(t *testing.T, doc, to string) {
	t.Helper()
	if strings.HasPrefix(to, "https://") {
		return
	}
	path, anchor, _ := strings.Cut(to, "#")
	target := doc
	if path != "" {
		target = filepath.Join(filepath.Dir(doc), path)
	}
	_, err := os.Stat(target)
	require.NoError(t, err, "a link of %s", doc)
	if anchor == "" {
		return
	}
	var anchors []string
	for _, h := range heading.FindAllStringSubmatch(readFile(t, target), -1) {
		h := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(h[1]), "") // as GitHub makes them
		anchors = append(anchors, strings.ReplaceAll(h, " ", "-"))
	}
	require.Contains(t, anchors, anchor, "a link of %s", doc)
}

// Each mark of the comparison has a link, to something that the file it leads to has.
func TestMarksOfTheComparisonAreLinked(t *testing.T) {
	t.Parallel()
	text := readFile(t, "comparison.md")
	mark := regexp.MustCompile(`^\[([^]]+)\]\[([^]]+)\]$`)
	known, used := map[string]bool{}, map[string]bool{}
	for _, to := range reference.FindAllStringSubmatch(text, -1) {
		require.False(t, known[to[1]], "%s twice", to[1])
		known[to[1]] = true
		if strings.HasSuffix(to[2], ".go") && !strings.HasPrefix(to[2], "https://") {
			require.Regexp(t, `(?m)^(func|type) `+to[3]+`\b`, readFile(t, to[2]))
		}
	}
	marks := 0
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 9 {
			continue
		}
		for _, cell := range cells[1:] {
			parts := mark.FindStringSubmatch(cell)
			require.NotNil(t, parts, "%q in: %s", cell, line)
			require.True(t, known[parts[2]], parts[2])
			used[parts[2]] = true
			marks++
		}
	}
	require.Greater(t, marks, 200)
	for _, link := range regexp.MustCompile(`[^|] \[[^]]+\]\[([^]]+)\]`).FindAllStringSubmatch(text, -1) {
		used[link[1]] = true // in a sentence
	}
	require.Equal(t, known, used, "what is referred to, and what is used")
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}
