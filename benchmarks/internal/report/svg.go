package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Line is a line of a plot.
type Line struct {
	Name   string
	X, Y   []float64
	Dashed bool
}

var colours = []string{"#1f6f9f", "#c2571a", "#2f8f4e", "#8a4fa3", "#a3364f", "#7a7a2a", "#4d4d4d", "#2aa3a3"}

const svgHead = `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">` +
	"\n" + `<rect width="100%%" height="100%%" fill="white"/>` + "\n"

// Plot draws lines over two logarithmic axes, with the names of the lines to the right. y are nanoseconds.
func Plot(title, xName string, lines []Line) string {
	const width, height, left, right, top, bottom = 720, 380, 70, 520, 40, 330
	minX, maxX, minY, maxY := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, l := range lines {
		for i := range l.X {
			minX, maxX = min(minX, l.X[i]), max(maxX, l.X[i])
			minY, maxY = min(minY, l.Y[i]), max(maxY, l.Y[i])
		}
	}
	minY, maxY = math.Floor(math.Log10(minY)), math.Ceil(math.Log10(maxY))
	x := func(v float64) float64 {
		return left + (right-left)*math.Log(v/minX)/max(math.Log(maxX/minX), 1e-9)
	}
	y := func(v float64) float64 { return bottom - (bottom-top)*(math.Log10(v)-minY)/max(maxY-minY, 1e-9) }

	var b strings.Builder
	fmt.Fprintf(&b, svgHead, width, height)
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="14">%s</text>`+"\n", left, html.EscapeString(title))
	for e := minY; e <= maxY; e++ {
		at := y(math.Pow(10, e))
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#dddddd"/>`+"\n", left, at, right)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left-6, at+4, axis(math.Pow(10, e)))
	}
	for v := math.Pow(10, math.Ceil(math.Log10(minX)-1e-9)); v <= maxX*1.001; v *= 10 {
		fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="#dddddd"/>`+"\n", x(v), top, bottom)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(v), bottom+18, thousands(v))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+right)/2, bottom+38, html.EscapeString(xName))
	for i, l := range lines {
		colour, dash := colours[i%len(colours)], ""
		if l.Dashed {
			dash = ` stroke-dasharray="6 4"`
		}
		var points []string
		for j := range l.X {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(l.X[j]), y(l.Y[j])))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.Join(points, " "), colour, dash)
		fmt.Fprintf(&b, `<path d="M%d %dh20" stroke="%s" stroke-width="2"%s/>`+"\n", right+15, top+8+i*20, colour, dash)
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", right+40, top+12+i*20, html.EscapeString(l.Name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// Bars are the bars of one operation, and what it is.
type Bars struct {
	Name   string
	Names  []string
	Values []float64
}

// BarPlot draws groups of bars, one below the other, with their values and a line at 1.
func BarPlot(title string, groups []Bars) string {
	const width, left, right, bar, gap, top = 720, 240, 640, 16, 26, 40
	most, height := 1.0, top
	for _, g := range groups {
		for _, v := range g.Values {
			most = max(most, v)
		}
		height += gap + bar*len(g.Values)
	}
	scale := float64(right-left) / most
	var b strings.Builder
	fmt.Fprintf(&b, svgHead, width, height+20)
	fmt.Fprintf(&b, `<text x="10" y="22" font-size="14">%s</text>`+"\n", html.EscapeString(title))
	y := top
	for _, g := range groups {
		y += gap
		fmt.Fprintf(&b, `<text x="10" y="%d" font-weight="bold">%s</text>`+"\n", y-5, html.EscapeString(g.Name))
		for i, v := range g.Values {
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-6, y+bar-4, html.EscapeString(g.Names[i]))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", left, y+2, v*scale, bar-3, colours[i%len(colours)])
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s</text>`+"\n", float64(left)+v*scale+5, y+bar-4, Ratio(v))
			y += bar
		}
	}
	fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="black" stroke-dasharray="3 3"/>`+"\n</svg>\n", float64(left)+scale, top, y+6)
	return b.String()
}

// axis writes a power of ten of nanoseconds.
func axis(ns float64) string {
	for _, unit := range []struct {
		ns   float64
		name string
	}{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}} {
		if ns >= unit.ns*0.999 {
			return fmt.Sprintf("%.0f %s", ns/unit.ns, unit.name)
		}
	}
	return fmt.Sprintf("%.0f ns", ns)
}

func thousands(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
