// Package event says what an event is: the catalog of types that customers
// subscribe to, and the exact bytes of the body that is signed and sent.
//
// A body is
//
//	{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{…}}
//
// with those keys in that order, and it is JS-stable:
//
//	JSON.stringify(JSON.parse(body)) === body
//
// in every JavaScript engine, because receivers commonly verify a signature over
// the object that their framework parsed and they serialise again. So data is
// brought into that form once, at ingest, by [Body]; the bytes are stored, signed
// and sent as they are and never encoded again.
//
// # The JS-stable form
//
// It is what ECMAScript's JSON.stringify makes of what JSON.parse read:
//
//   - no white space between tokens;
//   - numbers as Number::toString writes the nearest double (0.1, 100, 1e+21,
//     1e-7); -0 is 0;
//   - strings with the escapes \" \\ \b \f \n \r \t, other control characters as
//     \u00xx, lone surrogates as \udxxx, both in lower case, and everything else
//     raw, also < > & U+007F and U+2028;
//   - in an object, keys that are array indices (0 … 4294967294, no leading zero)
//     first and ascending, the others in the order of their first occurrence;
//   - of duplicate keys, compared after unescaping, the last value, at the place of
//     the first. __proto__ is a key like any other.
//
// # What is refused
//
// A document is accepted unless it has one of these faults, also in a value that a
// duplicate key would replace. The first one in reading order is reported.
//
//   - It is not JSON (RFC 8259), starts with a byte order mark, or is not valid
//     UTF-8: [Malformed].
//   - An integer written without fraction and exponent is beyond ±(2^53−1):
//     [UnsafeInteger]. 1e20 was written as an approximation and is accepted; it
//     reads 100000000000000000000 afterwards.
//   - A number rounds to no finite double, as 1e400: [NumberOverflow]. One too
//     small for a double becomes 0.
//   - It nests arrays and objects deeper than [MaxDepth]: [TooDeep].
//   - Its normal form is longer than [MaxBodyBytes]: [TooLarge].
package event
