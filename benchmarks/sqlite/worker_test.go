package sqlite_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/benchmarks/internal/report"
	"github.com/goappcache/appcache/benchmarks/sqlite"
)

// serve makes this program a worker.
var serve = flag.Bool("serve", false, "work for the program that started this one")

const benchTTL = time.Hour

var errMiss = errors.New("a miss")

// A worker has a store in a process of its own. In one process all databases of the driver would share one page cache,
// in which whoever was there first may get no room any more: the order of the candidates would decide.
type worker struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	orders  *json.Encoder
	answers *json.Decoder
}

// job is what a worker is told first: to make a store, and to fill it.
type job struct {
	Contender, Place string
	MaxSize, Entries int
	ValueBytes       int
}

// order is to do something n times in each of so many goroutines.
type order struct {
	Operation     string
	Goroutines, N int
}

// answer comes to the job and to each order.
type answer struct {
	Turn     report.Turn
	Resident uint64 // to residentMemory: bytes, 0 where that isn't known
	Error    string
}

// hire starts a worker. It ends with the benchmark.
func hire(tb testing.TB, j job) *worker {
	tb.Helper()
	program, err := os.Executable()
	require.NoError(tb, err)
	cmd := exec.CommandContext(tb.Context(), program, "-serve")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(tb, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	w := &worker{cmd, stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)}
	tb.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	_, err = w.ask(j)
	require.NoError(tb, err)
	return w
}

func (w *worker) ask(what any) (answer, error) {
	if err := w.orders.Encode(what); err != nil {
		return answer{}, err
	}
	var a answer
	if err := w.answers.Decode(&a); err != nil {
		return answer{}, fmt.Errorf("the worker has ended: %w", err)
	}
	if a.Error != "" {
		return answer{}, errors.New(a.Error)
	}
	return a, nil
}

// candidate is one that does an operation.
func (w *worker) candidate(name, operation string) report.Candidate {
	return report.Candidate{Name: name, Turn: func(goroutines, n int) (report.Turn, error) {
		a, err := w.ask(order{operation, goroutines, n})
		return a.Turn, err
	}}
}

// resident returns how many bytes of memory the worker has, its garbage and its keys not among them.
func (w *worker) resident(tb testing.TB) float64 {
	tb.Helper()
	a, err := w.ask(order{Operation: residentMemory})
	require.NoError(tb, err)
	return float64(a.Resident)
}

// leave closes the worker's store.
func (w *worker) leave(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, w.stdin.Close())
	require.NoError(tb, w.cmd.Wait())
}

// work is what a worker does until there are no more orders.
func work(orders io.Reader, answers io.Writer) error {
	in, out := json.NewDecoder(orders), json.NewEncoder(answers)
	var j job
	if err := in.Decode(&j); err != nil {
		return err
	}
	s, err := newBench(context.Background(), j)
	if err := out.Encode(answered(answer{}, err)); err != nil {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // it was answered
	}
	for {
		var o order
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			return s.Close()
		} else if err != nil {
			return err
		}
		if err := out.Encode(answered(s.follow(o))); err != nil {
			return err
		}
	}
}

func answered(a answer, err error) answer {
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

// bench is a full store and what is done with it.
type bench struct {
	sqlite.Store
	keys  []string
	value []byte
	next  atomic.Int64
}

func newBench(ctx context.Context, j job) (*bench, error) {
	for _, c := range everybody(j.MaxSize) {
		if c.name == j.Contender {
			s, err := c.make(ctx, j.Place)
			if err != nil {
				return nil, err
			}
			b := &bench{Store: s, value: bytes.Repeat([]byte("v"), j.ValueBytes)}
			for i := range j.Entries {
				b.keys = append(b.keys, sqlite.Key(i))
			}
			return b, s.Fill(ctx, j.Entries, b.value, benchTTL)
		}
	}
	return nil, fmt.Errorf("there is no contender %q", j.Contender)
}

func (s *bench) follow(o order) (answer, error) {
	if o.Operation == residentMemory {
		s.keys = nil // there are no operations after it
		n, err := resident()
		return answer{Resident: n}, err
	}
	for _, op := range operations {
		if op.name == o.Operation {
			turn, err := report.RunTurn(func() error { return op.run(s) }, o.Goroutines, o.N)
			return answer{Turn: turn}, err
		}
	}
	return answer{}, fmt.Errorf("there is no operation %q", o.Operation)
}

// residentMemory is the order to say how much memory the process has.
const residentMemory = "resident memory"

// resident returns how many bytes of this process are in memory, or 0 where there is no /proc as Linux has it.
func resident() (uint64, error) {
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var size, pages uint64
	_, err = fmt.Sscan(string(statm), &size, &pages)
	return pages * uint64(os.Getpagesize()), err
}

// operations are the columns of the table. newKey is the last one: after it the keys aren't there any more.
var operations = []struct {
	name       string
	goroutines int
	run        func(*bench) error
	all        bool // those that don't evict too
}{
	{"Get", 1, (*bench).get, true},
	{"overwrite", 1, (*bench).overwrite, true},
	{"64 goroutines", 64, (*bench).mixed, true},
	{newKey, 1, (*bench).newKey, false},
}

const newKey = "new key"

func (s *bench) key() string { return s.keys[rand.IntN(len(s.keys))] }

func (s *bench) get() error {
	value, found, err := s.Get(context.Background(), s.key())
	if err == nil && (!found || len(value) != len(s.value)) {
		return errMiss
	}
	return err
}

func (s *bench) overwrite() error {
	return s.Set(context.Background(), s.key(), s.value, benchTTL)
}

func (s *bench) newKey() error {
	key := sqlite.Key(len(s.keys) + int(s.next.Add(1)))
	return s.Set(context.Background(), key, s.value, benchTTL)
}

func (s *bench) mixed() error {
	if rand.IntN(10) > 0 {
		return s.get()
	}
	return s.overwrite()
}

// Workers do what they are told, and say what went wrong.
func TestWorkers(t *testing.T) {
	t.Parallel()
	for _, place := range places {
		for _, c := range everybody(20) {
			if c.noPlace == place.name {
				continue
			}
			w := hire(t, job{Contender: c.name, Place: place.path(t), MaxSize: 20, Entries: 20, ValueBytes: 10})
			for _, op := range operations {
				if !op.all && !c.evicts {
					continue
				}
				a, err := w.ask(order{op.name, op.goroutines, 10})
				require.NoError(t, err)
				require.Positive(t, a.Turn.Took)
				require.Positive(t, a.Turn.Allocs)
			}
			if c.evicts { // by now by the new keys, all that were there
				_, err := w.ask(order{newKey, 1, 20})
				require.NoError(t, err)
				_, err = w.ask(order{"Get", 1, 1})
				require.EqualError(t, err, errMiss.Error())
			}
			_, err := w.ask(order{"none", 1, 1})
			require.ErrorContains(t, err, `no operation "none"`)
			if runtime.GOOS == "linux" {
				require.Greater(t, w.resident(t), 1e6)
			}
			w.leave(t)
			_, err = w.ask(order{"Get", 1, 1})
			require.Error(t, err)
		}
	}
	var answers bytes.Buffer
	require.NoError(t, work(bytes.NewBufferString(`{"Contender":"none"}`), &answers))
	require.Contains(t, answers.String(), `no contender`)
}
