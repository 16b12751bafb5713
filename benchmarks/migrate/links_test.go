package migrate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// peers are the modules whose source docs/comparison.md links to. VERSION stands for the one that is required here.
var peers = []struct{ module, link, pages string }{
	{
		"github.com/go-redis/cache/v9", "https://github.com/go-redis/cache/blob/VERSION/",
		"https://pkg.go.dev/github.com/go-redis/cache/v9@VERSION",
	},
	{"github.com/eko/gocache/lib/v4", "https://github.com/eko/gocache/blob/lib/VERSION/lib/", ""},
	{"github.com/redis/rueidis/rueidisaside", "https://github.com/redis/rueidis/blob/VERSION/rueidisaside/", ""},
	{"github.com/viccon/sturdyc", "https://github.com/viccon/sturdyc/blob/VERSION/", "https://pkg.go.dev/github.com/viccon/sturdyc@VERSION"},
	{"github.com/maypok86/otter/v2", "https://github.com/maypok86/otter/blob/VERSION/", "https://pkg.go.dev/github.com/maypok86/otter/v2@VERSION"},
}

// The links are to the versions that are tested here, and the lines to what their title says.
func TestLinksToPeers(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/comparison.md")
	require.NoError(t, err)
	reference := regexp.MustCompile(`(?m)^\[[^]]+\]: (\S+?)(?:#L(\d+)(?:-L(\d+))?)?(?: "(.+)")?$`)
	references := reference.FindAllStringSubmatch(string(document), -1)
	for _, peer := range peers {
		listed, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", peer.module).Output()
		require.NoError(t, err)
		version, dir, _ := strings.Cut(strings.TrimSpace(string(listed)), " ")
		link := strings.ReplaceAll(peer.link, "VERSION", version)
		pages := strings.ReplaceAll(peer.pages, "VERSION", version)
		repository, _, _ := strings.Cut(peer.link, "blob/")
		found := 0
		for _, ref := range references {
			to, first, last, title := ref[1], ref[2], ref[3], ref[4]
			path, ours := strings.CutPrefix(to, link)
			if !ours {
				other := strings.HasPrefix(to, repository) && first != ""
				other = other || strings.HasPrefix(to, "https://pkg.go.dev/"+peer.module) && to != pages
				require.False(t, other, "%s isn't of %s", to, version)
				continue
			}
			path, _, _ = strings.Cut(path, "#") // a heading, of what isn't source
			source, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
			require.NoError(t, err)
			found++
			if first == "" {
				continue
			}
			from, err := strconv.Atoi(first)
			require.NoError(t, err)
			until := from
			if last != "" {
				until, err = strconv.Atoi(last)
				require.NoError(t, err)
			}
			lines := strings.Split(string(source), "\n")
			require.LessOrEqual(t, until, len(lines), ref[0])
			name := title[strings.LastIndex(title, ".")+1:]
			require.Regexp(t, `(?m)(func |type |\) |^\t)`+name+`\b`, strings.Join(lines[from-1:until], "\n"), ref[0])
		}
		require.Greater(t, found, 4, peer.module)
	}
}
