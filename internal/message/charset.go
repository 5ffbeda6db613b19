package message

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
)

// decodeCharset makes UTF-8 of text in a charset. A charset that is missing,
// unknown or plainly wrong is guessed: UTF-8 where the octets are valid, else
// windows-1252, which has a character for (nearly) every octet. The result may
// be text itself, and may hold invalid UTF-8 only where UTF-8 was declared.
func decodeCharset(text []byte, charset string) string {
	return string(decodeCharsetBytes(text, charset))
}

func decodeCharsetBytes(text []byte, charset string) []byte {
	charset = strings.Trim(charset, " \t\"'")
	if i := strings.IndexByte(charset, '*'); i >= 0 {
		charset = charset[:i] // RFC 2231 §5: a language
	}
	switch {
	case isASCII(text) && !asciiMeansMore(charset):
		return text
	case strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8"):
		return text
	case strings.EqualFold(charset, "utf-7") || strings.EqualFold(charset, "unicode-1-1-utf-7"):
		return decodeUTF7(text)
	}
	enc := findCharset(charset)
	if enc == nil {
		if utf8.Valid(text) {
			return text
		}
		enc = charmap.Windows1252
	}
	out, err := enc.NewDecoder().Bytes(text)
	if err != nil {
		return text
	}
	return out
}

// asciiMeansMore reports whether octets below 0x80 need decoding in a charset.
func asciiMeansMore(charset string) bool {
	if len(charset) < 4 {
		return false
	}
	switch lower(charset[0]) {
	case 'u', 'i', 'h', 'c', 'e': // utf-7/16/32, iso-2022-*, hz-gb-2312, cs…, ebcdic…
		return !hasPrefixFold(charset, "us-ascii") && !hasPrefixFold(charset, "utf-8") && !hasPrefixFold(charset, "iso-8859")
	}
	return false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// charsetAliases are names found in mail that neither index knows.
var charsetAliases = map[string]string{
	"cp932": "shift_jis", "windows-31j": "shift_jis", "ms_kanji": "shift_jis", "x-sjis": "shift_jis",
	"cp936": "gbk", "gb2312-80": "gbk", "gb_2312-80": "gbk", "x-gbk": "gbk", "gb-2312": "gbk", "cn-gb": "gbk",
	"cp949": "euc-kr", "ks_c_5601": "euc-kr", "ksc5601": "euc-kr", "x-windows-949": "euc-kr", "uhc": "euc-kr",
	"cp950": "big5", "x-x-big5": "big5", "big5-hkscs": "big5",
	"iso-8859-8-i": "iso-8859-8", "iso8859_1": "windows-1252", "8859_1": "windows-1252",
	"iso-8859-6-i": "iso-8859-6", "x-mac-roman": "macintosh", "cp1250": "windows-1250", "cp1251": "windows-1251",
	"cp1252": "windows-1252", "ansi_x3.110-1983": "windows-1252", "tis620": "windows-874", "cp874": "windows-874",
	"iso-2022-jp-1": "iso-2022-jp", "iso-2022-jp-2": "iso-2022-jp", "iso-2022-jp-ms": "iso-2022-jp", "cp50220": "iso-2022-jp", "cp50221": "iso-2022-jp",
}

// findCharset is nil for an unknown charset, and for plain ASCII, whose 8-bit
// octets are to be guessed.
func findCharset(name string) encoding.Encoding {
	if name == "" || len(name) > 64 || hasPrefixFold(name, "us-ascii") || strings.EqualFold(name, "ascii") {
		return nil
	}
	if to, ok := charsetAliases[strings.ToLower(name)]; ok {
		name = to
	}
	if enc, err := htmlindex.Get(name); err == nil {
		if canonical, _ := htmlindex.Name(enc); canonical == "replacement" || canonical == "x-user-defined" {
			return ianaCharset(name)
		}
		return enc
	}
	return ianaCharset(name)
}

func ianaCharset(name string) encoding.Encoding {
	if enc, err := ianaindex.MIME.Encoding(name); err == nil && enc != nil {
		return enc
	}
	if enc, err := ianaindex.IANA.Encoding(name); err == nil && enc != nil {
		return enc
	}
	return nil
}

var base64NoPadding = base64.StdEncoding.WithPadding(base64.NoPadding)

// decodeUTF7 follows RFC 2152; what is not well-formed stays as it is.
func decodeUTF7(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] != '+' {
			out = append(out, s[i])
			i++
			continue
		}
		end := i + 1
		for end < len(s) && isBase64(s[end]) {
			end++
		}
		if end == i+1 {
			out = append(out, '+')
			if i = end; i < len(s) && s[i] == '-' {
				i++
			}
			continue
		}
		out = appendUTF16(out, s[i+1:end])
		if i = end; i < len(s) && s[i] == '-' {
			i++
		}
	}
	return out
}

func isBase64(c byte) bool {
	l := lower(c)
	return 'a' <= l && l <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/'
}

// appendUTF16 decodes base64 without padding to UTF-16BE to UTF-8.
func appendUTF16(out, b64 []byte) []byte {
	raw := make([]byte, base64NoPadding.DecodedLen(len(b64))+2)
	n, err := base64NoPadding.Decode(raw, b64)
	if err != nil && n == 0 {
		return append(out, b64...)
	}
	units := make([]uint16, 0, n/2)
	for i := 0; i+1 < n; i += 2 {
		units = append(units, uint16(raw[i])<<8|uint16(raw[i+1]))
	}
	return append(out, string(utf16.Decode(units))...)
}
