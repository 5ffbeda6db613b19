// Package message reads Internet messages (RFC 5322, RFC 2045 to 2049) for the
// mailstore: once, at delivery, it makes everything that IMAP and POP3 clients
// will ask for later, and the folded text that SEARCH looks into.
//
// The structure parser is one linear pass with bounded memory: it reads any
// octets, never fails on content, and follows at most MaxDepth levels and
// MaxParts parts; what lies beyond is served as bytes, but has no structure of
// its own. Messages may have CRLF or bare LF line ends; they are never changed,
// and all sizes and offsets are those of the octets as they are stored.
//
// Parse makes what is stored beside a message, SearchText what SEARCH needs.
// DecodeParts finds BODY[1.2] again, BodyFromStructure makes BODY, FilterFields
// and SubsetCovers answer BODY[HEADER.FIELDS]. Fold is the one meaning of "the
// same text" for SEARCH, SORT and THREAD.
package message
