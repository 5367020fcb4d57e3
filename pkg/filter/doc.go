// Package filter decides which events a webhook gets by their data.
//
// A filter is a JSON object of conditions, all of which must hold:
//
//	{"stage.name": {"$eq": "won"}, "valueCents": {"$gte": 100000}}
//
// A member is a path with what is asked of the values there: a plain value (which
// must be equal), an object of operators, or an object with further paths. The
// operators are $eq, $neq, $gt, $gte, $lt, $lte, $in, $nin, $exist, $startsWith,
// $endsWith, $contains, and $and, $or, $not, which combine conditions at any
// level. docs/filters.md has them all with examples.
//
// # Paths and arrays
//
// A path names members from the outside in, with dots between; a backslash takes
// the character behind it literally. Where a path meets an array it goes on in
// every element, so a path may lead to several values, and the elements of an
// array at its end are values like that. Conditions hold if one of these values
// satisfies all that stands in their object; so
//
//	{"items": {"sku": "A", "quantity": {"$gt": 2}}}
//
// asks for one item with both, and {"items.sku": "A", "items.quantity": {"$gt": 2}}
// for an item with the one and an item with the other. $neq, $nin and $not are
// the exact opposites of $eq, $in and of what stands in $not: they hold if no
// value satisfies that, thus also where there is none. $exist asks whether the
// path leads to a value, of whatever kind.
//
// # Comparison
//
// Nothing is converted: "1" is not 1, and null is equal to null alone. Numbers are
// doubles. Strings compare by code points, without regard to a language.
//
// # Bounds
//
// A filter and an event are both a customer's, so what the one costs on the other
// is bounded whatever they are. [Compile] refuses a filter that is too large, and
// of an event's arrays the first [MaxElements] elements are seen. Visiting a value
// is a step. Each name on the way to a condition is looked up at most once for
// each element, and the elements are visited themselves, so a filter makes at most
// 2 × work × (1 + elements) steps: see [Document.Cost]. In a step no more is
// compared than the filter itself brings, but for $contains, of which there are
// few.
package filter
