package inbound

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// maxAccountBytes is how long the id of an account may be that is connected.
const maxAccountBytes = 64

// accountID is an account's id. Meta's own tests come from account 0.
func accountID(v value) string {
	id := v.line()
	if id == "0" || len(id) > maxAccountBytes {
		return ""
	}
	return id
}

// personID is an id of a person: none rather than one that no index takes.
func personID(v value) string {
	id := v.line()
	if len(id) > MaxIDBytes {
		return ""
	}
	return id
}

// messageID is Meta's id of a message. What is too long, or looks like an id of ours,
// is hashed, wherever it is told.
func messageID(v value) string {
	id := v.line()
	if len(id) > MaxIDBytes || strings.HasPrefix(id, "~") {
		return key(id)
	}
	return id
}

// key is the id of what Meta gave none: made of what tells it from all else, none of
// which changes when it is told again.
func key(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		hash.Write(size[:])
		hash.Write([]byte(part))
	}
	return "~" + hex.EncodeToString(hash.Sum(nil))
}

// canonical is a value whatever the order and white space it was written in, for
// key. Numbers stay as they are: a double would not hold every id.
func canonical(v value) string {
	text := jsontext.Value(v.raw()).Clone()
	if text.Format(jsontext.AllowDuplicateNames(true), jsontext.ReorderRawObjects(true)) != nil {
		return string(v.raw()) // it was read as JSON
	}
	return string(text)
}

// phone returns a number with its country code as E.164 has it, and nothing for what
// is none.
func phone(text string) string {
	if len(text) > 32 {
		return ""
	}
	e164 := make([]byte, 1, 33)
	e164[0] = '+'
	for i := range len(text) {
		switch c := text[i]; {
		case '0' <= c && c <= '9':
			e164 = append(e164, c)
		case c == '+' && i == 0, c == ' ', c == '-', c == '(', c == ')':
		default:
			return ""
		}
	}
	const shortest, longest = len("+1234567"), len("+123456789012345")
	if len(e164) < shortest || len(e164) > longest || e164[1] == '0' {
		return ""
	}
	return string(e164)
}

// isUserID reports whether text has the form of a business-scoped user id: a country
// and a dot before the rest.
func isUserID(text string) bool {
	upper := func(c byte) bool { return 'A' <= c && c <= 'Z' }
	return len(text) > 3 && len(text) <= MaxIDBytes && upper(text[0]) && upper(text[1]) && text[2] == '.'
}

// Times that Meta can mean: of its products none is older, and whoever reads this
// later than the last has other worries.
var (
	firstTime = time.Date(2004, time.January, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(2100, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// moment reads a time, in seconds or milliseconds: which of them shows. What is no
// time is zero.
func moment(v value) time.Time {
	text := v.line()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.Abs(f) > maxExact {
			return time.Time{}
		}
		n = int64(f)
	}
	const milliseconds = 100_000_000_000 // as seconds, this is in the year 5138
	at := time.Unix(n, 0)
	if n >= milliseconds {
		at = time.UnixMilli(n)
	}
	if at.Before(firstTime) || !at.Before(lastTime) {
		return time.Time{}
	}
	return at.UTC()
}

// maxExact bounds numbers: an event takes no greater integer, and a double is not
// exact beyond.
const maxExact = 1<<53 - 1

// number reads a number, false for what is none or out of bounds.
func number(v value) (float64, bool) {
	f, err := strconv.ParseFloat(v.line(), 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > maxExact {
		return 0, false
	}
	return f, true
}

func truth(v value) bool {
	switch v.line() {
	case "true", "1":
		return true
	}
	return false
}

// plainText is text, and of an object or array its JSON: a payload may be either.
func plainText(v value) string {
	if v.kind() == jsontext.KindBeginObject || v.kind() == jsontext.KindBeginArray {
		return string(v.raw())
	}
	return v.text()
}
