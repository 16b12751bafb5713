package appcache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// An envelope is put around what is stored only where that needs it:
//
//	0x00 'a' 'c' 0x01 | flags, one byte | fields as the flags say, in their order, big-endian | body
const envelopeMagic = "\x00ac\x01"

const (
	flagCompressed = 1 << iota // the body is compressed
	flagFresh                  // fresh-until: Unix time in ms, int64, by the writer's wall clock
	flagCost                   // load cost: ms, uint32
	flagAbsent                 // the origin has no such value: there is no body
	flagsEnd                   // a flag from here on is of a later version
)

var errEnvelope = errors.New("the entry has a damaged envelope, or one of a later version")

// entry is what is stored under a key, taken apart.
type entry struct {
	body       []byte
	enveloped  bool // then compressed says whether body is, and otherwise its look does
	compressed bool
	absent     bool
	fresh      bool  // freshUntil is set
	freshUntil int64 // Unix ms
	cost       uint32
}

// stale reports whether the time until which the entry is fresh has passed.
func (e *entry) stale() bool { return e.fresh && e.left() <= 0 }

// left returns how long the entry is fresh yet, by this machine's clock.
func (e *entry) left() time.Duration { return time.Until(time.UnixMilli(e.freshUntil)) }

// hasMagic reports whether data would be read as an envelope.
func hasMagic(data []byte) bool {
	return len(data) >= len(envelopeMagic) && string(data[:len(envelopeMagic)]) == envelopeMagic
}

// open sets e from stored bytes, of which the body is a part.
func (e *entry) open(data []byte) error {
	if !hasMagic(data) {
		*e = entry{body: data}
		return nil
	}
	if len(data) == len(envelopeMagic) {
		return errEnvelope
	}
	flags, rest := data[len(envelopeMagic)], data[len(envelopeMagic)+1:]
	*e = entry{
		enveloped:  true,
		compressed: flags&flagCompressed != 0,
		fresh:      flags&flagFresh != 0,
		absent:     flags&flagAbsent != 0,
	}
	if e.fresh {
		if len(rest) < 8 {
			return errEnvelope
		}
		e.freshUntil, rest = int64(binary.BigEndian.Uint64(rest)), rest[8:]
	}
	if flags&flagCost != 0 {
		if len(rest) < 4 {
			return errEnvelope
		}
		e.cost, rest = binary.BigEndian.Uint32(rest), rest[4:]
	}
	if flags >= flagsEnd || e.absent && (e.compressed || len(rest) > 0) {
		return errEnvelope
	}
	e.body = rest
	return nil
}

// seal returns the bytes to store for e: its body as it is where nothing else is to be said and nobody
// would take it for something else, and otherwise an envelope.
func (e *entry) seal(c Compressor) []byte {
	plain := !e.fresh && e.cost == 0 && !e.absent
	if plain && !hasMagic(e.body) && e.compressed == c.IsCompressed(e.body) {
		return e.body
	}
	data := make([]byte, 0, len(envelopeMagic)+1+8+4+len(e.body))
	data = append(data, envelopeMagic...)
	data = append(data, 0)
	flags := &data[len(envelopeMagic)]
	if e.compressed {
		*flags |= flagCompressed
	}
	if e.absent {
		*flags |= flagAbsent
	}
	if e.fresh {
		*flags |= flagFresh
		data = binary.BigEndian.AppendUint64(data, uint64(e.freshUntil))
	}
	if e.cost != 0 {
		*flags |= flagCost
		data = binary.BigEndian.AppendUint32(data, e.cost)
	}
	return append(data, e.body...)
}

func (c *core) marshal(v any) ([]byte, error) {
	data, err := c.serialiser.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("serialising a %v: %w", reflect.TypeOf(v).Elem(), err)
	}
	return data, nil
}

// pack returns the bytes to store for a serialised value, and for how long. They may be the same. Cost is how
// long the value took to load, 0 where nobody knows.
func (c *Cache[V]) pack(key Key[V], value V, data []byte, compress bool, ttl, cost time.Duration) ([]byte, time.Duration, error) {
	if !compress {
		compress = c.compressOver > 0 && len(data) > c.compressOver || key != nil && key.ShouldCompress(value, data)
	}
	e := entry{body: data, compressed: compress}
	if compress {
		var err error
		if e.body, err = c.compress(data); err != nil {
			return nil, 0, err
		}
	}
	ttl = c.policy.apply(&e, ttl, cost)
	return e.seal(c.compressor), ttl, nil
}

func (c *core) compress(data []byte) ([]byte, error) {
	compressed, err := c.compressor.Compress(data)
	if err == nil && !c.compressor.IsCompressed(compressed) {
		err = fmt.Errorf("%T.IsCompressed does not know what its Compress returns", c.compressor)
	}
	return compressed, err
}

// decode sets what v points to from stored bytes, and e as unseal does.
func (c *core) decode(data []byte, v any, staleFor time.Duration, e *entry) (outcome Outcome, err error) {
	outcome = Unreadable // unless it gets further than a panic
	defer recovered(&err)
	found, err := c.unseal(data, staleFor, e)
	if err == nil && (found == Hit || found == Stale) {
		err = c.serialiser.Unmarshal(e.body, v)
	}
	if err == nil {
		outcome = found
	}
	return outcome, err
}

// unmarshal is the serialiser's, of which a panic is an error.
func (c *core) unmarshal(data []byte, v any) (err error) {
	defer recovered(&err)
	return c.serialiser.Unmarshal(data, v)
}

// recovered makes an error of a panic: whatever somebody wrote into the store, it mustn't end the program.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v", p)
	}
}

// unseal undoes pack: it sets e, whose body is then the serialised value. The outcome is Hit, Stale for
// less than staleFor, Miss for what is stale for longer, absent, or Unreadable with the reason.
func (c *core) unseal(data []byte, staleFor time.Duration, e *entry) (Outcome, error) {
	if err := e.open(data); err != nil {
		return Unreadable, err
	}
	outcome := Hit
	if e.fresh {
		if left := e.left(); left <= -staleFor {
			return Miss, nil
		} else if left <= 0 {
			outcome = Stale
		}
	}
	if e.absent {
		return absent, nil
	}
	if e.compressed || !e.enveloped && c.compressor.IsCompressed(e.body) {
		var err error
		if e.body, err = c.compressor.Decompress(e.body); err != nil {
			return Unreadable, err
		}
	}
	return outcome, nil
}
