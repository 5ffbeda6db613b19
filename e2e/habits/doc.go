// Package habits keeps five connections on one account busy in the way that
// Thunderbird does, while mail comes in by SMTP, and holds everything that the
// server shows against a ledger kept outside of it.
//
// The ledger ([Ledger]) knows, from nothing but what the server has promised (250,
// OK, COPYUID, APPENDUID), which messages each folder must have, with which UIDs,
// flags and octets. The connections ([bird]) work at the same time; each claims
// a message before it changes it, so that what must come out is known. After each
// round all stand still, and a connection of another make compares every folder
// with the ledger, and so does each of the five with what it was told meanwhile:
// those in IDLE without having asked.
//
// At the end lies are put into the ledger, one after the other: each must be
// noticed, or the run proves nothing.
package habits
