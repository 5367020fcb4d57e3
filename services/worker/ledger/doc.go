// Package ledger is the one writer of what became of events and deliveries.
//
// What it is given gathers for at most 20 ms or 256 items and commits together,
// in one transaction and one round trip. An item is one of
//
//   - an [Entry]: an event with the log rows of its finished attempts and a queue
//     row for every delivery that is not finished. It is accepted only if the
//     event has no entry yet;
//   - a [Result]: what an attempt at a queue row came to. It is accepted only if
//     the row still expects this attempt under this lease;
//   - a [Log] alone: a test call's.
//
// An item whose origin no longer stands is superseded: its attempts are logged
// as not counted, and nothing else of it happens. Statistics count the counted
// log rows of the same transaction, so they equal the logs at every instant.
//
// A webhook's health is written on transitions alone: each exhausted delivery,
// and the first success after one. It says how many deliveries were exhausted in
// a row, whatever ledgers they came through, what level of the way to an
// automatic disable that is, and that what was exhausted is to be recovered.
// Package health acts on it.
//
// A commit whose outcome is unknown is looked up before it is repeated: an entry
// that is there is done, a log row that is there proves its result. An item that
// Postgres refuses for its data never blocks the others: it is bisected out,
// written without the endpoint's words and, if that is refused too, poisoned.
// Any other refusal means that Postgres is away: the write, and it alone, is
// repeated until the context ends.
package ledger
