package memcache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/goappcache/appcache"
)

const (
	maxKey     = 250 // what the protocol allows
	mappedMark = "~sha256:"
	mappedTail = len(mappedMark) + 2*sha256.Size
)

// storeKey returns the key that memcached is given for key: key itself where memcached takes it,
// else a readable beginning, mappedMark and the SHA-256 of the whole key.
func storeKey(key string) (string, error) {
	if key == "" {
		// The client lets it pass, and "get \r\n" puts the connection out of step.
		return "", fmt.Errorf("memcache: %w", appcache.ErrEmptyKey)
	}
	// What looks mapped is mapped too: all mapped keys then end in a hash of the whole key and no
	// other key does, so that nobody can write a key that meets another's mapped one.
	if legal(key) && !looksMapped(key) {
		return key, nil
	}
	sum := sha256.Sum256([]byte(key))
	readable := []byte(key[:min(len(key), maxKey-mappedTail)])
	for i, c := range readable {
		if !legalByte(c) {
			readable[i] = '_'
		}
	}
	return string(readable) + mappedMark + hex.EncodeToString(sum[:]), nil
}

func legal(key string) bool {
	if len(key) > maxKey {
		return false
	}
	for i := range len(key) {
		if !legalByte(key[i]) {
			return false
		}
	}
	return true
}

// legalByte says whether memcached takes c in a key. Bytes from 0x80 on are allowed, so a key in
// another script stays readable.
func legalByte(c byte) bool { return c > ' ' && c != 0x7f }

func looksMapped(key string) bool {
	if len(key) < mappedTail || !strings.HasPrefix(key[len(key)-mappedTail:], mappedMark) {
		return false
	}
	for _, c := range []byte(key[len(key)-2*sha256.Size:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
