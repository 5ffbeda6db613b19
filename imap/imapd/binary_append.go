package imapd

// codeUnknownCTE is the response code of RFC 3516 §4.3.
const codeUnknownCTE = "UNKNOWN-CTE"

// errBinaryStorage refuses a literal8 that holds NUL: whoever fetches the
// message without BINARY could not be given it (RFC 3516 §4.4).
var errBinaryStorage = no(codeUnknownCTE, "Messages with NUL octets cannot be stored")
