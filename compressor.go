package appcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// Compressor makes serialised values smaller. It must be safe for concurrent use.
type Compressor interface {
	// IsCompressed reports whether data looks like output of Compress. It must be cheap and must
	// say so of all of it; what looks so without being so is told apart by the cache.
	IsCompressed(data []byte) bool

	// Compress returns data compressed, in a slice of its own. It must not change data or keep it.
	Compress(data []byte) ([]byte, error)

	// Decompress returns what was given to Compress, in a slice of its own. It should bound what
	// it returns, whatever data says. An error, or a panic, makes the entry a miss.
	Decompress(data []byte) ([]byte, error)
}

const (
	defaultGzipLevel   = 5
	defaultGzipMaxSize = 64 << 20
)

// Gzip compresses in the gzip format (RFC 1952). Its zero value is ready, and is the default.
type Gzip struct {
	Level   int // from 1, the fastest, to 9, the smallest; 0: 5
	MaxSize int // bytes; what would compress from or decompress to more is ErrTooLarge; 0: 64 MiB
}

// IsCompressed reports whether data begins as every gzip member does.
func (Gzip) IsCompressed(data []byte) bool {
	return len(data) >= 3 && data[0] == 0x1f && data[1] == 0x8b && data[2] == 8
}

// Compress returns data as one gzip member.
func (g Gzip) Compress(data []byte) ([]byte, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	if len(data) > g.maxSize() {
		return nil, fmt.Errorf("gzip: %d bytes, of at most %d: %w", len(data), g.maxSize(), ErrTooLarge)
	}
	var out bytes.Buffer
	out.Grow(len(data)/2 + 64)
	level := g.level()
	w, _ := gzipWriters[level].Get().(*gzip.Writer)
	if w == nil {
		var err error
		if w, err = gzip.NewWriterLevel(nil, level); err != nil {
			return nil, err
		}
	}
	defer func() {
		w.Reset(nil) // a pooled writer must not hold on to the output
		gzipWriters[level].Put(w)
	}()
	w.Reset(&out)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// Decompress returns what data holds: a gzip stream, whole and undamaged, with nothing after it.
func (g Gzip) Decompress(data []byte) ([]byte, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	r, _ := gzipReaders.Get().(*gzip.Reader)
	if r == nil {
		r = new(gzip.Reader)
	}
	source := bytes.NewReader(data)
	defer func() {
		source.Reset(nil) // a pooled reader must not hold on to the entry
		gzipReaders.Put(r)
	}()
	if err := r.Reset(source); err != nil {
		return nil, err
	}
	out, err := readAtMost(r, g.maxSize(), sizeHint(data, g.maxSize()))
	if err != nil {
		return nil, err
	}
	return out, r.Close()
}

// Writers hold around a megabyte, and readers tens of kilobytes.
var (
	gzipWriters [gzip.BestCompression + 1]sync.Pool // of *gzip.Writer, by level
	gzipReaders sync.Pool                           // of *gzip.Reader
)

func (g Gzip) level() int {
	if g.Level == 0 {
		return defaultGzipLevel
	}
	return g.Level
}

func (g Gzip) maxSize() int {
	if g.MaxSize == 0 {
		return defaultGzipMaxSize
	}
	return min(g.MaxSize, math.MaxInt-1) // there is always one more to count
}

func (g Gzip) check() error {
	if g.Level < 0 || g.Level > gzip.BestCompression {
		return fmt.Errorf("Gzip.Level is %d; write 1 to %d, or 0 for %d", g.Level, gzip.BestCompression, defaultGzipLevel)
	}
	if g.MaxSize < 0 {
		return fmt.Errorf("Gzip.MaxSize is %d; write a number of bytes, or 0 for %d", g.MaxSize, defaultGzipMaxSize)
	}
	return nil
}

// sizeHint guesses how much data holds, from the size at the end of a member, which anybody may have
// written there: it is never more than deflate can make of so many bytes.
func sizeHint(data []byte, limit int) int {
	const deflateMost = 1032 // times; https://zlib.net/zlib_tech.html
	if len(data) < 4 {
		return 0
	}
	claimed := binary.LittleEndian.Uint32(data[len(data)-4:])
	return int(min(uint64(claimed), uint64(limit), uint64(len(data))*deflateMost))
}

// readAtMost reads all of r, or fails with ErrTooLarge once that is more than limit bytes.
func readAtMost(r io.Reader, limit, hint int) ([]byte, error) {
	out := make([]byte, 0, hint+1) // 1 more, so that the end is seen without growing
	for {
		n, err := r.Read(out[len(out):min(cap(out), limit+1)])
		out = out[:len(out)+n]
		if len(out) > limit {
			return nil, fmt.Errorf("gzip: over %d bytes: %w", limit, ErrTooLarge)
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(out) == cap(out) {
			out = append(out, 0)[:len(out)]
		}
	}
}
