package imapd

import (
	"context"
	"time"

	"posthouse/imap/wire"
)

// states are the states of RFC 3501 §3 in which a command is allowed.
type states uint8

const (
	guest    states = 1 << iota // not authenticated
	user                        // authenticated, no mailbox selected
	selected                    // a mailbox is selected
	anyState = guest | user | selected
	loggedIn = user | selected
)

// command is one command while it runs. Its handler reads the arguments from
// lex, ends them with lex.End, works, writes untagged responses, and returns nil
// for OK or an error that [tagged] knows how to answer: see reply.go.
type command struct {
	tag, name string // name is in upper case, without UID
	uid       bool   // UID FETCH, UID STORE, …
	lex       *wire.Lexer

	metric string // name in the metrics: of a known command, with UID
	begun  time.Time

	answered bool // the handler wrote the tagged response itself

	code string // response code of the tagged OK, without its brackets: "READ-ONLY"
	text string // text of the tagged OK; "NAME completed" when empty
}

// commandSpec says how a command is dispatched.
type commandSpec struct {
	in  states
	run func(s *session, ctx context.Context, c *command) error
	// noExpunge: while the command runs the client may not hear EXPUNGE, because
	// it speaks in sequence numbers (RFC 3501 §7.4.1).
	noExpunge bool
}

// commands is filled by init, because handlers refer to what refers to it.
var commands map[string]commandSpec

func init() {
	commands = map[string]commandSpec{
		"CAPABILITY": {in: anyState, run: (*session).cmdCapability},
		"NOOP":       {in: anyState, run: (*session).cmdNoop},
		"CHECK":      {in: selected, run: (*session).cmdNoop},
		"LOGOUT":     {in: anyState, run: (*session).cmdLogout},
		"ID":         {in: anyState, run: (*session).cmdID},

		"STARTTLS":     {in: guest, run: (*session).cmdStartTLS},
		"LOGIN":        {in: guest, run: (*session).cmdLogin},
		"AUTHENTICATE": {in: guest, run: (*session).cmdAuthenticate},

		"COMPRESS": {in: loggedIn, run: (*session).cmdCompress},

		"ENABLE":  {in: loggedIn, run: (*session).cmdEnable},
		"IDLE":    {in: loggedIn, run: (*session).cmdIdle},
		"NOTIFY":  {in: loggedIn, run: (*session).cmdNotify},
		"SELECT":  {in: loggedIn, run: (*session).cmdSelect},
		"EXAMINE": {in: loggedIn, run: (*session).cmdSelect},

		"LIST":        {in: loggedIn, run: (*session).cmdList},
		"LSUB":        {in: loggedIn, run: (*session).cmdLsub},
		"XLIST":       {in: loggedIn, run: (*session).cmdXList},
		"CREATE":      {in: loggedIn, run: (*session).cmdCreate},
		"DELETE":      {in: loggedIn, run: (*session).cmdDelete},
		"RENAME":      {in: loggedIn, run: (*session).cmdRename},
		"SUBSCRIBE":   {in: loggedIn, run: (*session).cmdSubscribe},
		"UNSUBSCRIBE": {in: loggedIn, run: (*session).cmdUnsubscribe},
		"STATUS":      {in: loggedIn, run: (*session).cmdStatus},
		"NAMESPACE":   {in: loggedIn, run: (*session).cmdNamespace},
		"APPEND":      {in: loggedIn, run: (*session).cmdAppend},

		"GETQUOTA":     {in: loggedIn, run: (*session).cmdGetQuota},
		"GETQUOTAROOT": {in: loggedIn, run: (*session).cmdGetQuotaRoot},
		"SETQUOTA":     {in: loggedIn, run: (*session).cmdSetQuota},

		"GETACL":     {in: loggedIn, run: (*session).cmdGetACL},
		"SETACL":     {in: loggedIn, run: (*session).cmdSetACL},
		"DELETEACL":  {in: loggedIn, run: (*session).cmdDeleteACL},
		"LISTRIGHTS": {in: loggedIn, run: (*session).cmdListRights},
		"MYRIGHTS":   {in: loggedIn, run: (*session).cmdMyRights},

		"GETMETADATA": {in: loggedIn, run: (*session).cmdGetMetadata},
		"SETMETADATA": {in: loggedIn, run: (*session).cmdSetMetadata},

		"UNAUTHENTICATE": {in: loggedIn, run: (*session).cmdUnauthenticate},

		"SORT":       {in: selected, run: (*session).cmdSort, noExpunge: true},
		"UID SORT":   {in: selected, run: (*session).cmdSort},
		"THREAD":     {in: selected, run: (*session).cmdThread, noExpunge: true},
		"UID THREAD": {in: selected, run: (*session).cmdThread},
		"SEARCH":     {in: selected, run: (*session).cmdSearch, noExpunge: true},
		"UID SEARCH": {in: selected, run: (*session).cmdSearch},
		"ESEARCH":    {in: loggedIn, run: (*session).cmdESearch, noExpunge: true},

		"FETCH":       {in: selected, run: (*session).cmdFetch, noExpunge: true},
		"UID FETCH":   {in: selected, run: (*session).cmdFetch},
		"STORE":       {in: selected, run: (*session).cmdStore, noExpunge: true},
		"UID STORE":   {in: selected, run: (*session).cmdStore},
		"REPLACE":     {in: selected, run: (*session).cmdReplace},
		"UID REPLACE": {in: selected, run: (*session).cmdReplace},
		"COPY":        {in: selected, run: (*session).cmdCopy},
		"UID COPY":    {in: selected, run: (*session).cmdCopy},
		"MOVE":        {in: selected, run: (*session).cmdMove},
		"UID MOVE":    {in: selected, run: (*session).cmdMove},
		"EXPUNGE":     {in: selected, run: (*session).cmdExpunge},
		"UID EXPUNGE": {in: selected, run: (*session).cmdExpunge},

		"CANCELUPDATE": {in: selected, run: (*session).cmdCancelUpdate},

		"CLOSE":    {in: selected, run: (*session).cmdClose},
		"UNSELECT": {in: selected, run: (*session).cmdUnselect},
	}
}
