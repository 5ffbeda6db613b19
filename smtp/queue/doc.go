// Package queue keeps what leaves this site until it has left: messages in
// Postgres with their recipients, the destinations that these lie at, and a
// Scheduler on each node that sends them.
//
// Enqueue runs inside the transaction that stores the local copies of the same
// message (mailstore.Delivery.InTx), so that both stand or fall together. The
// body is not copied: a row in queue_message refers to the mailstore's blob,
// and keeps it from collection. Committed, called after the commit, wakes the
// scheduler.
//
// # Who sends what
//
// A destination is what shares sessions: a domain, or a relay (relay.Route.Key).
// A node claims the ready one that was served longest ago, for one session;
// others may have more sessions with it, up to its concurrency, which doubles
// while mail is taken and halves when connections fail. So a stalled
// destination holds its few sessions and nobody else's mail. A session is a
// lease of a minute, renewed every 20 s; it claims recipients in small batches
// in order of priority and time, and sends them down one connection.
//
// # What can go wrong
//
// Every result is fenced: it is recorded only while the recipient still belongs
// to the session. The lease is confirmed just before the final dot, and the
// result of the message before must be committed by then. So at a kill there is
// at most one message in each session that the next hop may have taken and
// that will be sent again. The sessions of a dead node are given free by any
// other node when their leases end, or sooner when it is seen to be dead.
//
// A connection that fails backs its destination off, a 4xx the recipient, both
// by the Schedule. What waits too long bounces: the report and the end of the
// recipient are one transaction. All times are those of the database.
//
// A report that cannot be delivered (its recipient is gone, a double bounce) is
// dropped: the log, a metric and the event Bounced say so, and the message
// ends like others that failed. A message with the null reverse-path is never
// reported on.
package queue
