package cachetest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

var keyCases = []testCase{
	{
		name: "keys that differ in case",
		rule: "Two different keys must never meet: keys are bytes, and upper and lower case are different bytes.",
		run: func(c *checker) {
			distinct(c, letters('A', 'Z'), letters('a', 'z'), []string{"key", "KEY", "Key", "kEY", "key/A", "key/a",
				"straße", "STRASSE", "strasse", "ı", "İ", "\u212a", "σ", "ς", "Σ", "É", "é"})
		},
	},
	{
		name: "keys with spaces and control bytes",
		rule: "A key may hold any bytes, also spaces, line ends and NULs, and none of them may reach the store's protocol as such.",
		run: func(c *checker) {
			distinct(c, withEach("a%sb", 0x00, 0x20), withEach("a%sb", 0x7f, 0x7f), withEach("%s", 0x00, 0x20), withEach("%s", 0x7f, 0x7f),
				[]string{"a", "b", "ab", "a  b", "a\r\nb", "a\x00\x00b", "a noreply", "b\r\nget a\r\n",
					"a 0 0 5\r\nvalue\r\nset b", "a\r\n*1\r\n$8\r\nFLUSHALL\r\n", "a b c d e f", strings.Repeat(" ", 100), strings.Repeat(" ", 99) + "!"})
		},
	},
	{
		name: "keys that differ at an end",
		rule: "Two different keys must never meet: nothing may be trimmed from the beginning or the end of a key.",
		run: func(c *checker) {
			var keys []string
			for _, s := range []string{" ", "  ", "\x00", "\x00\x00", "/", "//", "\n", "\r\n", "\t", ".", "\u00a0", "\u3000", "\ufeff", "'", "%"} {
				keys = append(keys, s, "a"+s, s+"a", s+"a"+s)
			}
			distinct(c, []string{"a"}, keys)
		},
	},
	{
		name: "keys that aren't UTF-8",
		rule: "Two different keys must never meet: keys are bytes, and those that aren't UTF-8 must not be replaced or left out.",
		run: func(c *checker) {
			distinct(c, withEach("a%s", 0x80, 0xff), withEach("%s", 0x80, 0xff), withEach("a%sb", 0x80, 0xff),
				[]string{"a", "ab", "\ufffd", "a\ufffd", "a\ufffdb", "a\ufffd\ufffd", "a\xff\xff", "\xed\xa0\x80", "\xc0\x80",
					"\xc3\x28", "\xe2\x82", "\xf4\x90\x80\x80", "é", "\u00ff", "\u0080", strings.Repeat("\xff", 100), strings.Repeat("\xff", 99) + "!"})
		},
	},
	{
		name: "keys in several Unicode forms",
		rule: "Two different keys must never meet: keys are bytes, and Unicode forms of one character are different bytes.",
		run: func(c *checker) {
			distinct(c, []string{"é", "e\u0301", "e", "Å", "A\u030a", "\u212b", "ﬁ", "fi", "Ａ", "A", "①", "1", "１", "가", "\u1100\u1161",
				"a\u200db", "a\u200bb", "a\u00adb", "ab", "🙂", "🙂\ufe0f", "\u202eab", "𝓪"})
		},
	},
	{
		name: "keys that look like numbers",
		rule: "Two different keys must never meet: a key that looks like a number, or like a word of a query language, is still its bytes.",
		run: func(c *checker) {
			distinct(c, []string{"1", "01", "001", "1.0", "1.00", "+1", "1.", "1e0", "0x1", "0b1", "1_0", "10", "-1", "-1.0",
				"0", "-0", "0.0", ".0", "00", "9007199254740992", "9007199254740993", "9007199254740992.0", "9223372036854775807",
				"9223372036854775808", "-9223372036854775808", "18446744073709551616", "1e400", "-1e400", "2e400", "NaN", "Inf", "-Inf",
				"null", "nil", "true", "false", "rowid", "default"})
		},
	},
	{
		name: "keys with metacharacters",
		rule: "Two different keys must never meet: what a query, a pattern, a path, a URL or a template gives a meaning is in a key nothing but bytes.",
		run: func(c *checker) {
			distinct(c, withEach("%s", '!', '/'), withEach("%s", ':', '@'), withEach("%s", '[', '`'), withEach("%s", '{', '~'),
				[]string{"a", "b", "ab", "a*", "a%", "a_", "a?", "a.b", "a'b", "a''b", `a"b`, `a\b`, `a\\b`, "[ab]", "[a-b]", "[^a]", "{a}", "{a}b", "{b}a",
					"{}a", "a;b", "';DELETE/**/FROM/**/entries;--", "'||'", "--", "/*", "*/", "$1", "?1", ":1", "@a", "$(a)", "${a}", "{{a}}",
					"a:b", "a::b", "a/b", "a//b", "/a/b", "a/b/", "..", "../a", "a/../b", "a/./b", "./a", "C:\\a", "a%2Fb", "a%252Fb", "%00", "%0", "%",
					"%%", "%a", "%s", "%d", "a&b", "a=b", "a+b", "a%20b", "a%2520b", "a-b", "a|b", "a,b", "a#b", "a@b", "a~b", `\x20`, `a\x20b`, `\u0020`, "=20", "_20", "&amp;", "&"})
		},
	},
	{
		name: "long keys",
		rule: "A key of any length must work, and two long keys must not meet however little they differ.",
		run: func(c *checker) {
			var keys []string
			for _, size := range []int{10_000, 70_000} {
				long := strings.Repeat("long/", size/5)
				keys = append(keys, long, long[:size-1], long[:size-1]+"!", "!"+long[1:], long[:size/2]+"!"+long[size/2+1:])
			}
			distinct(c, keys)
		},
	},
	{
		name: "keys with a common beginning",
		rule: "Two different keys must never meet: keys that are alike up to the length that a store or a column takes are still different.",
		run: func(c *checker) {
			var keys []string
			for _, n := range []int{31, 32, 63, 64, 127, 128, 185, 186, 199, 200, 248, 249, 250, 251, 252, 255, 256, 257, 511, 512, 767, 1023, 1024, 2047, 2048, 4096} {
				begin := strings.Repeat("x", n)
				keys = append(keys, begin, begin+"-a", begin+"-b")
			}
			slices.Sort(keys)
			distinct(c, slices.Compact(keys))
		},
	},
	{
		name: "keys that look mapped",
		rule: "A store with narrower keys must also map a key that looks mapped already, so that it can't meet the one that is mapped to it.",
		run: func(c *checker) {
			long := strings.Repeat("long/", 60)
			distinct(c, slices.Concat([]string{long, "a b", "a\nb", "\xff"}, mappedForms(long), mappedForms("a b"),
				[]string{"a%20b", "a%0Ab", "a+b", "a_b", "a-b", "ab", `a\x20b`, `a\nb`, "a%2520b", "%FF", "%ff", "%25FF", `\xff`, "=FF", "ÿ", "\ufffd",
					"a b%", "a%20b%", "a%20b%25"}))
		},
	},
}

// distinct stores a value under each key, wants them all back, removes every other one, and wants
// just these gone.
func distinct(c *checker, families ...[]string) {
	c.Helper()
	var keys []string
	seen := map[string]bool{}
	for _, key := range slices.Concat(families...) {
		if !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	// The value says whose it is, so that the message about two keys that meet names both.
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = fmt.Appendf(nil, "the value of %s, key %d", quote(key), i)
		c.set(key, values[i], 0)
	}
	for i, key := range keys {
		c.hit(key, values[i])
	}
	for i := 0; i < len(keys); i += 2 {
		c.invalidate(keys[i])
	}
	for i, key := range keys {
		if i%2 == 0 {
			c.miss(key)
		} else {
			c.hit(key, values[i])
		}
	}
}

// withEach returns a key for each byte from first to last.
func withEach(format string, first, last byte) []string {
	var keys []string
	for b := int(first); b <= int(last); b++ {
		keys = append(keys, fmt.Sprintf(format, string([]byte{byte(b)})))
	}
	return keys
}

func letters(first, last byte) []string { return withEach("%s", first, last) }

// mappedForms returns what backends might make of key: its SHA-256 in the usual notations, alone,
// after the usual marks, and after as much of the key as fits into the usual limits with it.
func mappedForms(key string) []string {
	sum := sha256.Sum256([]byte(key))
	digits := hex.EncodeToString(sum[:])
	hashes := []string{
		digits, strings.ToUpper(digits), string(sum[:]),
		base64.RawURLEncoding.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString(sum[:]),
	}
	marks := []string{"", "#", "@", "~", "%", "$", "!", "=", "+", "*", ":", "/", ".", "-", "_", "|", "\x00", "\xff", " ",
		"sha256:", "sha256-", "sha256/", "sha256=", "sha256_", "SHA256:", "h:", "hash:", "%sha256:", "#sha256:", "@sha256:", "~sha256:", ":sha256:", "/sha256/", "/sha256:"}
	var forms []string
	for _, hash := range hashes {
		for _, mark := range marks {
			forms = append(forms, mark+hash, hash+mark)
		}
	}
	for _, mark := range marks {
		for _, size := range []int{100, 128, 150, 200, 240, 248, 249, 250, 251, 255, 256} {
			if begin := size - len(mark) - len(digits); begin < len(key) {
				forms = append(forms, key[:begin]+mark+digits)
			}
		}
	}
	return forms
}
