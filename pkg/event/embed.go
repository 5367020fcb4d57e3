package event

// EmbedDepth is how many arrays and objects may stand in one another in what is
// embedded: half of what a body may have.
const EmbedDepth = MaxDepth / 2

// Embed returns a JSON document that came from elsewhere as it may stand anywhere in
// the data of an event: in JS-stable form, the numbers that Body refuses, or would
// once they are in that form (integers beyond ±(2^53−1), and what no double holds),
// as strings of what stood there. It returns nil for what is malformed, nests deeper
// than EmbedDepth, or is longer than maxBytes: that is left out rather than cut.
func Embed(doc []byte, maxBytes int) []byte {
	const longest = len(`\u0041`) // a byte, as it may come
	if len(doc) > longest*maxBytes {
		return nil
	}
	out, err := appendWith(make([]byte, 0, min(len(doc), maxBytes)), doc, EmbedDepth, true)
	if err != nil || len(out) > maxBytes {
		return nil
	}
	return out
}
