package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ID is an id of Meta's. In JSON it may be a string or a number, whose digits are
// kept as they are.
type ID string

var errID = errors.New("an id of Meta's must be a string or an integer")

// UnmarshalJSON reads a string, an integer or null.
func (id *ID) UnmarshalJSON(raw []byte) error {
	switch {
	case bytes.Equal(raw, []byte("null")):
		*id = ""
		return nil
	case len(raw) > 0 && raw[0] == '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		*id = ID(s)
		return nil
	}
	for i, c := range raw {
		if (c < '0' || c > '9') && (i > 0 || c != '-') {
			return errID
		}
	}
	*id = ID(raw)
	return nil
}

// Text is a text of Meta's that can be stored: at most 1 KiB, the rest is cut off. What
// is no text in JSON is kept as it is written; null is empty.
type Text string

// UnmarshalJSON reads any JSON.
func (t *Text) UnmarshalJSON(raw []byte) error {
	*t = Text(bounded(text(raw)))
	return nil
}

// Bool is a truth of Meta's. In JSON it may be true, "true", 1, or an object whose
// success is one of them; whatever else is false.
type Bool bool

// UnmarshalJSON reads any JSON.
func (b *Bool) UnmarshalJSON(raw []byte) error {
	*b = Bool(truth(raw, 1))
	return nil
}

// truth looks into at most depth objects.
func truth(raw []byte, depth int) bool {
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '{' {
		var object struct {
			Success json.RawMessage `json:"success"`
		}
		return depth > 0 && json.Unmarshal(raw, &object) == nil && truth(object.Success, depth-1)
	}
	switch strings.ToLower(string(raw)) {
	case "true", `"true"`, "1", `"1"`:
		return true
	}
	return false
}

// maxText is how much is kept of a text that Meta gave, in bytes.
const maxText = 1 << 10

// text is a string in JSON, or whatever else stands there as it is written; empty
// for null and what is absent.
func text(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return ""
	}
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		s = string(raw)
	}
	return s
}

// storable is s as Postgres takes it: valid and without NUL.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// bounded is s, storable and short.
func bounded(s string) string {
	s = storable(s)
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// integer reads a number or a string of one.
func integer(raw json.RawMessage) (int, bool) {
	n, err := strconv.Atoi(strings.TrimSpace(text(raw)))
	return n, err == nil
}
