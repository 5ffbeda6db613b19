package mailstore

import (
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"posthouse/internal/message"
)

// This file divides folded text into words, and needles into what words can say
// about them.
//
// A word is a run of letters, numbers, marks and underscores. A run of scripts
// that are written without spaces gives its overlapping pairs of characters in
// place of one word, a single one itself. So a text contains a needle made of
// word characters exactly when one of its words does, and a character or a pair of such a
// script exactly when one of its pairs does.

// What a character is in a word.
const (
	notWord byte = iota
	inWord
	inPairs
)

// maxWord is the longest word that segments hold, in octets. A text with a
// longer one is looked into by every search.
const maxWord = 128

// pairedScripts are written without spaces between words.
var pairedScripts = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar}

// classOf is what a rune is in a word.
func classOf(r rune) byte {
	switch {
	case r == 0x3099 || r == 0x309a || r == 0x30fc: // marks of kana that Unicode counts to no script
		return inPairs
	case !unicode.In(r, unicode.L, unicode.N, unicode.M) && r != '_':
		return notWord
	case unicode.In(r, pairedScripts...):
		return inPairs
	}
	return inWord
}

// asciiClasses are those of ASCII.
var asciiClasses = func() (table [utf8.RuneSelf]byte) {
	for c := range table {
		table[c] = classOf(rune(c))
	}
	return table
}()

// planeClasses are those of the basic plane: 64 KiB.
var planeClasses = sync.OnceValue(func() *[1 << 16]byte {
	table := new([1 << 16]byte)
	for r := range table {
		table[r] = classOf(rune(r))
	}
	return table
})

// wideClass is the class of a character beyond ASCII, and its octets.
func wideClass(text []byte) (class byte, n int) {
	r, n := utf8.DecodeRune(text)
	if r < 1<<16 {
		return planeClasses()[r], n
	}
	return classOf(r), n
}

// eachWord gives the words of a folded text to f, which must not keep them; long
// says that there is a word beyond maxWord, which it is not given.
func eachWord(text []byte, f func(word []byte)) (long bool) {
	for i := 0; i < len(text); {
		class, n := notWord, 1
		if c := text[i]; c < utf8.RuneSelf {
			class = asciiClasses[c]
		} else {
			class, n = wideClass(text[i:])
		}
		switch class {
		case notWord:
			i += n
		case inWord:
			end := i + n + endOfRun(text[i+n:])
			if end-i <= maxWord {
				f(text[i:end])
			} else {
				long = true
			}
			i = end
		case inPairs:
			i = eachPair(text, i, n, f)
		}
	}
	return long
}

// endOfRun is where the word characters end that text begins with.
func endOfRun(text []byte) int {
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			if asciiClasses[c] != inWord {
				return i
			}
			i++
			continue
		}
		class, n := wideClass(text[i:])
		if class != inWord {
			return i
		}
		i += n
	}
	return len(text)
}

// eachPair gives the pairs of the run that begins at i with a character of n
// octets, and where it ends.
func eachPair(text []byte, i, n int, f func([]byte)) (end int) {
	last, single := i, true
	for i += n; i < len(text) && text[i] >= utf8.RuneSelf; i += n {
		var class byte
		if class, n = wideClass(text[i:]); class != inPairs {
			break
		}
		f(text[last : i+n])
		last, single = i, false
	}
	if single {
		f(text[last:i])
	}
	return i
}

// piece is a part of a needle that a word of a matching text contains, or begins
// with, ends with, or is; or that one of its contexts contains.
type piece struct {
	text        string
	first, last bool       // it begins the word; it ends it
	context     bool       // it is part of a context
	fuzzy       *fuzzyWord // not nil: it is like the word
}

// pieces divides a folded needle at what is not a word: at its inner boundaries
// the words of a text that contains it begin and end, too. exact says that a
// text without long words contains the needle exactly when one of its words
// matches the only piece; otherwise that is necessary, for each piece, not sufficient.
func pieces(needle string) (list []piece, exact bool) {
	text := []byte(needle)
	for i := 0; i < len(text); {
		class, n := wideClass(text[i:])
		end := i + n
		switch class {
		case inWord:
			end += endOfRun(text[end:])
			list = append(list, piece{text: string(text[i:end]), first: i > 0, last: end < len(text)})
		case inPairs:
			var words []string
			end = eachPair(text, i, n, func(w []byte) { words = append(words, string(w)) })
			if _, size := utf8.DecodeRuneInString(words[0]); size == len(words[0]) {
				list = append(list, piece{text: words[0], first: i > 0, last: end < len(text)})
				break
			}
			for _, w := range words {
				list = append(list, piece{text: w, first: true, last: true})
			}
		}
		if exact = i == 0 && end == len(text) && len(list) == 1; exact {
			return list, true
		}
		i = end
	}
	return list, false
}

// segmentFormat pins what segments depend on beside the texts in the packs: the
// encoding, the rules above and Unicode's letters as this binary knows them.
// Segments of a lower format are made again.
var segmentFormat = func() int16 {
	const encoding = 2
	major, _, _ := strings.Cut(unicode.Version, ".")
	unicodeMajor, err := strconv.Atoi(major)
	if err != nil {
		panic("mailstore: Unicode " + unicode.Version)
	}
	return int16(message.FoldVersion*2000 + encoding*100 + unicodeMajor%100)
}()
