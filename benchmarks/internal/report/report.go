package report

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// Report collects what several benchmarks measure. The zero value is ready. It is for one goroutine.
type Report struct {
	names  []string
	groups map[string][]Samples
}

// Add keeps samples, those of the candidate to compare with first. Those of a group that was measured before, as
// with -count, are more of the same.
func (r *Report) Add(group string, samples []Samples) {
	if r.groups == nil {
		r.groups = map[string][]Samples{}
	}
	known := r.groups[group]
	if known == nil {
		r.names = append(r.names, group)
		r.groups[group] = samples
		return
	}
	for i := range known {
		known[i].NS = append(known[i].NS, samples[i].NS...)
		known[i].Bytes = append(known[i].Bytes, samples[i].Bytes...)
		known[i].Allocs = append(known[i].Allocs, samples[i].Allocs...)
	}
}

// Groups returns the names of what was measured, in that order.
func (r *Report) Groups() []string { return r.names }

// Group returns the samples of a group, those of its first candidate first, or nil.
func (r *Report) Group(name string) []Samples { return r.groups[name] }

// Of returns the samples of a candidate of a group, or nil.
func (r *Report) Of(group, candidate string) *Samples {
	for i, s := range r.groups[group] {
		if s.Name == candidate {
			return &r.groups[group][i]
		}
	}
	return nil
}

// Rounds returns the number of rounds that the groups had, the most where they differ.
func (r *Report) Rounds() int {
	most := 0
	for _, samples := range r.groups {
		most = max(most, len(samples[0].NS))
	}
	return most
}

// A Table is one of Markdown.
type Table struct {
	Head []string
	Rows [][]string
}

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// String returns the table with all columns but the first to the right.
func (t *Table) String() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.Head)
	rule := slices.Repeat([]string{"---:"}, len(t.Head))
	rule[0] = "---"
	line(rule)
	for _, row := range t.Rows {
		line(row)
	}
	return b.String()
}

// Ratio writes a ratio so that three digits are left of it.
func Ratio(ratio float64) string {
	switch {
	case ratio >= 100:
		return fmt.Sprintf("%.0f", ratio)
	case ratio >= 10:
		return fmt.Sprintf("%.1f", ratio)
	default:
		return fmt.Sprintf("%.2f", ratio)
	}
}

// Duration writes nanoseconds so that three digits are left of them.
func Duration(ns float64) string {
	switch {
	case ns >= 1e9:
		return Ratio(ns/1e9) + " s"
	case ns >= 1e6:
		return Ratio(ns/1e6) + " ms"
	case ns >= 1e3:
		return Ratio(ns/1e3) + " µs"
	default:
		return fmt.Sprintf("%.0f ns", ns)
	}
}

// Machine says where, when, of what and by which command something was measured, as Markdown. modules are
// paths of modules, and programs command lines that print a version.
func Machine(ctx context.Context, command string, modules []string, programs ...string) (string, error) {
	out := func(name string, args ...string) (string, error) {
		output, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(output)), nil
	}
	commit, err := out("git", "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "", err
	}
	changed, err := out("git", "status", "--porcelain", "--", ":/", ":(top,exclude)docs")
	if err != nil {
		return "", err
	}
	if changed != "" {
		commit += ", with changes"
	}
	versions, err := out("go", append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}"}, modules...)...)
	if err != nil {
		return "", err
	}
	versions = strings.ReplaceAll(versions, "\n", ", ")
	for _, program := range programs {
		words := strings.Fields(program)
		version, err := out(words[0], words[1:]...)
		if err != nil {
			return "", err
		}
		version, _, _ = strings.Cut(version, " sha=")
		versions += ", " + version
	}
	return fmt.Sprintf("Measured with `%s` on %s, at commit %s: %s, %d cores, %s/%s; %s; %s.\n",
		command, time.Now().UTC().Format(time.DateOnly), commit, processor(), runtime.NumCPU(), runtime.GOOS,
		runtime.GOARCH, runtime.Version(), versions), nil
}

// processor returns the name of the processor, as far as the system tells.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "an unnamed processor"
}

// Write puts text between the two lines in the file that mark the section with this name:
//
//	<!-- begin NAME -->
//	<!-- end NAME -->
//
// The file must have them.
func Write(path, section, text string) error {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(data, []byte("<!-- begin "+section+" -->\n"))
	_, after, ends := bytes.Cut(rest, []byte("<!-- end "+section+" -->\n"))
	if !found || !ends {
		return fmt.Errorf("%s has no section %q to write into", path, section)
	}
	text = fmt.Sprintf("<!-- begin %s -->\n\n%s\n<!-- end %[1]s -->\n", section, text)
	return os.WriteFile(path, slices.Concat(before, []byte(text), after), 0o644) //nolint:gosec // it is to be read
}

// RunAndWrite runs the benchmarks of m and writes what they measured, after a line about the machine, which is looked
// up first: it is about what is measured, and not what came of it since. It returns the code to exit with.
func RunAndWrite(m *testing.M, machine func(context.Context) (string, error), write func(machine string) error) int {
	text, err := machine(context.Background())
	code := 1
	if err == nil {
		if code = m.Run(); code == 0 {
			err = write(text)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
