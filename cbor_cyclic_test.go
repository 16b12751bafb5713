package appcache_test

import (
	"encoding/gob"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/goappcache/appcache"
	"github.com/stretchr/testify/require"
)

type (
	chain struct {
		N    int
		Next *chain
	}
	ring struct {
		Payload []any
		Next    *ring
	}
	tree struct {
		Name     string
		Parent   *tree
		Children []*tree
	}
	// treeNoParent leaves its parents out.
	treeNoParent struct {
		Name     string
		Parent   *treeNoParent `cbor:"-"`
		Children []*treeNoParent
	}
	embedding struct {
		Embedded
		N int
	}
	Embedded   struct{ Self *embedding }
	selfMap    map[string]selfMap
	selfSlice  []selfSlice
	selfAny    struct{ V any }
	keyMap     map[pointerKey]int
	pointerKey struct{ P *keyMap }
	arrayNode  struct{ A [2]*arrayNode }
	Author     struct{ Books []*Book }
	Book       struct {
		Title  string
		Author *Author
	}
)

// cyclicValues are pointers to values that hold themselves.
func cyclicValues() map[string]any {
	self := &chain{}
	self.Next = self
	two := &chain{Next: &chain{}}
	two.Next.Next = two
	late := &chain{}
	for c, i := late, 0; i < 1000; i++ {
		c.Next = &chain{N: i}
		if c = c.Next; i == 999 {
			c.Next = late.Next.Next.Next
		}
	}
	root := &tree{Name: "root"}
	root.Children = []*tree{{Name: "leaf", Parent: root}}
	embedded := &embedding{}
	embedded.Self = embedded
	m := selfMap{}
	m["m"] = selfMap{"n": m}
	s := make(selfSlice, 2)
	s[1] = s
	array := &arrayNode{}
	array.A[1] = array
	keys := keyMap{}
	keys[pointerKey{&keys}] = 1
	author := &Author{}
	for range 100 {
		author.Books = append(author.Books, &Book{"t", author})
	}
	anySelf := &selfAny{}
	anySelf.V = anySelf
	var pointer any
	pointer = &pointer
	var there, back any
	there, back = &back, &there
	anyMap := map[string]any{}
	anyMap["m"] = []any{anyMap}
	anySlice := make([]any, 1)
	anySlice[0] = anySlice
	tag := cbor.Tag{Number: 99, Content: anySlice}
	return map[string]any{
		"itself": &self, "two": &two, "after a while": &late, "parent": &root, "embedded": &embedded,
		"map": &m, "slice": &s, "array": &array, "key": &keys, "author": &author, "any": &anySelf,
		"pointer to itself": &pointer, "pointers": &there, "map in any": &anyMap, "slice in any": &anySlice, "tag": &tag,
	}
}

// A codec that follows a cycle overflows its stack, which nothing recovers from: another process has to
// try it.
func TestCyclicValuesAreErrors(t *testing.T) {
	t.Parallel()
	const variable = "APPCACHE_TEST_CYCLIC"
	if os.Getenv(variable) == "" {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCyclicValuesAreErrors$", "-test.v")
		command.Env = append(os.Environ(), variable+"=1")
		output, err := command.CombinedOutput()
		if len(output) > 5000 {
			output = output[:5000]
		}
		require.NoError(t, err, "%s", output)
		for name := range cyclicValues() {
			require.Contains(t, string(output), "--- PASS: TestCyclicValuesAreErrors/"+strings.ReplaceAll(name, " ", "_"))
		}
		return
	}
	gob.Register(map[string]any{})
	gob.Register([]any{})
	gob.Register(&selfAny{})
	for name, v := range cyclicValues() {
		t.Run(name, func(t *testing.T) {
			for _, s := range []appcache.Serialiser{appcache.CBOR{}, appcache.CBOR{Portable: true}, appcache.Gob{}} {
				_, err := s.Marshal(v)
				require.ErrorContains(t, err, "cyclic", "%#v", s)
			}
		})
	}
}

// A cycle is found by coming back to where the walk was, and not only by its depth: else all that is on
// the cycle would be walked 65,000 times, which takes minutes.
func TestCyclesAreFoundSoon(t *testing.T) {
	t.Parallel()
	done := make(chan error, 1)
	go func() {
		a := &ring{Payload: make([]any, 100_000)}
		a.Next = &ring{Payload: make([]any, 100_000), Next: a}
		_, err := appcache.CBOR{}.Marshal(&a)
		done <- err
	}()
	select {
	case err := <-done:
		require.ErrorContains(t, err, "cyclic")
	case <-time.After(time.Minute): // of what takes 0.1 s
		t.Fatal("still walking")
	}
}

// Marking a place must not take two values for one that only begin alike.
func TestSharedIsNotCyclic(t *testing.T) {
	t.Parallel()
	shared := &chain{N: 1}
	requireSame(t, []*chain{shared, shared, {Next: shared}})
	tail := []any{int64(1), int64(2)}
	tail[1] = tail[:1] // begins where tail does
	got, err := throughCache[any](t, appcache.CBOR{}, tail)
	require.NoError(t, err)
	require.Equal(t, []any{int64(1), []any{int64(1)}}, got)
	type first struct{ First struct{ P *chain } }
	requireSame(t, map[string]first{"a": {First: struct{ P *chain }{shared}}, "b": {First: struct{ P *chain }{shared}}})
	diamond := any("bottom")
	for range 15 {
		diamond = []any{diamond, diamond}
	}
	requireSame(t, diamond)

	root := &treeNoParent{Name: "root"}
	root.Children = []*treeNoParent{{Name: "leaf", Parent: root}}
	got2, err := throughCache(t, appcache.CBOR{}, root)
	require.NoError(t, err)
	require.Equal(t, &treeNoParent{Name: "root", Children: []*treeNoParent{{Name: "leaf"}}}, got2)
	_, err = throughCache(t, appcache.Gob{}, root)
	require.ErrorContains(t, err, "cyclic", "gob knows nothing of cbor's tags")
}

func lengthOf(list *chain) (n int) {
	for ; list != nil; list = list.Next {
		n++
	}
	return n
}

func listOf(n int) *chain {
	var list *chain
	for i := range n {
		list = &chain{i, list}
	}
	return list
}

// What can be marshalled can be unmarshalled: the two limits must not be one level apart, nor may what is
// at the bottom be too deep.
func TestDeepValues(t *testing.T) {
	t.Parallel()
	type (
		bottom struct {
			Times [][]*time.Time
			Big   cbor.Tag
			Raw   cbor.RawMessage
		}
		node struct {
			Next   *node
			Bottom *bottom
		}
	)
	now := time.Unix(1, 0).UTC()
	deep := &bottom{
		Times: [][]*time.Time{{&now}},
		Big:   cbor.Tag{Number: 99, Content: cbor.Tag{Number: 100, Content: []any{now}}},
		Raw:   cbor.RawMessage(strings.Repeat("\x81", 100) + "\x01"),
	}
	nodes := func(n int) *node {
		list := &node{Bottom: deep}
		for range n - 1 {
			list = &node{Next: list}
		}
		return list
	}
	slices := func(n int, last any) any {
		for range n - 1 {
			last = []any{last}
		}
		return last
	}
	tests := map[string]struct {
		most int
		make func(n int) any
		read func() any
	}{
		"list":  {65_000, func(n int) any { v := listOf(n); return &v }, func() any { return new(*chain) }},
		"nodes": {64_996, func(n int) any { v := nodes(n); return &v }, func() any { return new(*node) }},
		"ints":  {65_001, func(n int) any { v := slices(n, []int{}); return &v }, func() any { return new(any) }},
		"time":  {65_001, func(n int) any { v := slices(n, &now); return &v }, func() any { return new(any) }},
		"types": {65_001, func(n int) any { v := slices(n, map[string][][][]int{"a": {{{1}}}}); return &v }, func() any { return new(any) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			portable := appcache.CBOR{Portable: true}
			v, got := test.make(test.most), test.read()
			data, err := portable.Marshal(v)
			require.NoError(t, err)
			require.NoError(t, portable.Unmarshal(data, got))
			if name == "list" {
				require.Equal(t, test.most, lengthOf(*got.(**chain)))
			}
			_, err = portable.Marshal(test.make(test.most + 1))
			require.ErrorContains(t, err, "nested")
		})
	}
}

func TestDeepGob(t *testing.T) {
	t.Parallel()
	for _, n := range []int{65_000, 70_000} {
		v := listOf(n)
		data, err := appcache.Gob{}.Marshal(&v)
		if n == 70_000 {
			require.ErrorContains(t, err, "nested")
			continue
		}
		require.NoError(t, err, n)
		var got *chain
		require.NoError(t, appcache.Gob{}.Unmarshal(data, &got), n)
	}
}
