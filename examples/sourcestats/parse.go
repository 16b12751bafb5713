package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"strconv"
)

// fileStats is what is kept about a file.
type fileStats struct {
	Lines     int
	Comments  int // lines that they take up
	Types     int
	Functions int // and methods
	Imports   []string
	Longest   function
	Broken    bool // it can't be parsed: only its lines are counted
}

type function struct {
	Name  string // with the receiver's type
	Line  int    // where it begins
	Lines int
}

// parse counts what is in a file. A file that can't be parsed is no error, but one that can't be read is.
func parse(path string) (fileStats, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return fileStats{}, err
	}
	stats := fileStats{Lines: bytes.Count(source, []byte("\n"))}
	if len(source) > 0 && source[len(source)-1] != '\n' {
		stats.Lines++
	}
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, path, source, parser.ParseComments|parser.SkipObjectResolution)
	if stats.Broken = err != nil; stats.Broken {
		return stats, nil
	}
	line := func(p token.Pos) int { return positions.PositionFor(p, false).Line }
	lines := func(n ast.Node) int { return line(n.End()-1) - line(n.Pos()) + 1 }

	for _, group := range file.Comments {
		stats.Comments += lines(group)
	}
	for _, spec := range file.Imports {
		if path, err := strconv.Unquote(spec.Path.Value); err == nil {
			stats.Imports = append(stats.Imports, path)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			stats.Types++
		case *ast.FuncDecl:
			stats.Functions++
			if lines(n) > stats.Longest.Lines {
				stats.Longest = function{Name: name(n), Line: line(n.Pos()), Lines: lines(n)}
			}
		}
		return true
	})
	return stats, nil
}

// name returns the name of a function, or of a method as in (*T).M.
func name(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	receiver := types.ExprString(f.Recv.List[0].Type)
	if receiver[0] == '*' {
		receiver = "(" + receiver + ")"
	}
	return receiver + "." + f.Name.Name
}
