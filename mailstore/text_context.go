package mailstore

import "unicode/utf8"

// This file divides folded text where words end, for needles with a space or
// other signs in them, of which words alone say little.
//
// A context is a run of what is not a word with up to contextSide characters of the
// words at both its sides, as it stands in the text: "a well-known one" has "A WE", "LL-KN"
// and "WN ON". So a needle with one such run in it and no more than that of the
// words beside it is in a text exactly when it is part of one of its contexts; for
// another needle that holds for the part around each of its runs, which is necessary.
// Of a run longer than contextRun the contexts are its pieces of that length.
const (
	contextSide = 2    // characters
	contextRun  = 20   // octets
	needleRun   = 16   // octets of a needle's run that a piece of contextRun has, wherever characters begin
	maxRun      = 4096 // octets; a text with a longer run is looked into by every search,
	maxContexts = 1 << 16
)

// classAt is the class of the character that text begins with, and its octets.
func classAt(text []byte) (class byte, n int) {
	if text[0] < utf8.RuneSelf {
		return asciiClasses[text[0]], 1
	}
	return wideClass(text)
}

// gap is a run of what is not a word: text[at:end] with the words' characters from left
// to right.
type gap struct{ left, at, end, right int }

// nextGap is the first gap that ends behind from, where the last one ended; ok
// says that there is one.
func nextGap(text []byte, from int) (g gap, ok bool) {
	var begins [contextSide]int // of the characters before the gap, the latest last
	n := 0
	for i := from; i < len(text); {
		class, size := classAt(text[i:])
		if class != notWord {
			copy(begins[:], begins[1:])
			begins[contextSide-1] = i
			n++
			i += size
			continue
		}
		g = gap{left: i, at: i, end: i}
		if n > 0 {
			g.left = begins[max(contextSide-n, 0)]
		}
		for g.end < len(text) {
			class, size := classAt(text[g.end:])
			if class != notWord {
				break
			}
			g.end += size
		}
		g.right = g.end
		for range contextSide {
			if g.right == len(text) {
				break
			}
			class, size := classAt(text[g.right:])
			if class == notWord {
				break
			}
			g.right += size
		}
		return g, true
	}
	return g, false
}

// eachContext gives the contexts of a folded text to f, which must not keep them;
// long says that there are more than it is given.
func eachContext(text []byte, f func(context []byte)) (long bool) {
	n := 0
	for at := 0; ; {
		g, ok := nextGap(text, at)
		if !ok {
			return false
		}
		if n++; n > maxContexts || g.end-g.at > maxRun {
			return true
		}
		if at = g.end; g.end-g.at <= contextRun {
			f(text[g.left:g.right])
		} else {
			n += eachRunPiece(text, g, f)
		}
	}
}

// eachRunPiece gives the contexts of a long run: its beginning, all its pieces,
// its end. Those that repeat are given once where they follow one another.
func eachRunPiece(text []byte, g gap, f func(context []byte)) (n int) {
	f(text[g.left:runeEnd(text, g.at+contextRun)])
	last := ""
	i := g.at
	for i+contextRun <= g.end {
		if piece := text[i:runeEnd(text, i+contextRun)]; string(piece) != last {
			last = string(piece)
			f(piece)
			n++
		}
		_, size := utf8.DecodeRune(text[i:])
		i += size
	}
	f(text[i:g.right])
	return n + 1
}

// runeEnd is the last place up to i where a character begins.
func runeEnd(text []byte, i int) int {
	for i < len(text) && i > 0 && !utf8.RuneStart(text[i]) {
		i--
	}
	return i
}

// contexts gives the parts of a folded needle that contexts of a text with it
// contain. exact says that such a text is one with it.
func contexts(needle string) (list []piece, exact bool) {
	text := []byte(needle)
	for at := 0; ; {
		g, ok := nextGap(text, at)
		if !ok {
			return list, exact
		}
		if at = g.end; g.end-g.at <= needleRun {
			list = append(list, piece{text: needle[g.left:g.right], context: true})
			exact = g.left == 0 && g.right == len(text)
			continue
		}
		begin := runeEnd(text, g.at+needleRun)
		end := g.end - needleRun
		for !utf8.RuneStart(text[end]) {
			end++
		}
		list = append(list, piece{text: needle[g.left:begin], context: true}, piece{text: needle[end:g.right], context: true})
	}
}
