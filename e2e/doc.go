// Package e2e holds the end-to-end tests: the real program, on ports of the
// kernel's choosing, with Debian's swaks, curl, mbsync and fetchmail, and the
// crash harness. The packages below it run the program (node), keep account of
// what clients were told (ledger), do harm (harm), and behave like Thunderbird
// (habits).
package e2e
