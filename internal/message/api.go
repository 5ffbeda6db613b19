package message

import "io"

// BodyFromStructure derives BODY (no extension data) from BODYSTRUCTURE.
func BodyFromStructure(structure []byte) []byte { return structure }

// SubsetCovers reports whether the fields of these names (any case) can be
// answered from a message's HeaderSubset without reading its header.
func SubsetCovers(subset []byte, names []string) bool { return false }

// FilterFields appends to dst the lines of header whose field names are (or,
// with not, are not) among names, in their order, verbatim. The empty line that
// ends a header is left out: the caller adds it.
func FilterFields(dst, header []byte, names []string, not bool) []byte { return dst }

// ScanFields calls yield for each field of a header with its name and its whole
// lines (name, colon, value, line ends), until yield returns false.
func ScanFields(header []byte, yield func(name, raw []byte) bool) {}

// Field is the first value of a field: unfolded, trimmed, not decoded.
func Field(header []byte, name string) (string, bool) { return "", false }

// DecodeHeader decodes the encoded words (RFC 2047) of a header field's value
// and unfolds it. Raw 8-bit octets are read as UTF-8 where that is valid.
func DecodeHeader(raw []byte) string { return string(raw) }

// FoldVersion changes when the same text would fold differently.
const FoldVersion = 1

// Fold makes text comparable for SEARCH: stored texts and needles alike.
func Fold(s string) string { return s }

// FoldBytes is Fold that appends to dst.
func FoldBytes(dst, s []byte) []byte { return append(dst, s...) }

// SearchHeaderField reports whether a field of that name in the header contains
// the folded needle; the empty needle asks whether there is such a field.
func SearchHeaderField(header []byte, name, foldedNeedle string) bool { return false }

// Text is the decoded, folded text of a message's body for SEARCH, up to limit octets.
func Text(r io.ReaderAt, size int64, limit int64) (folded []byte, err error) { return nil, nil }
