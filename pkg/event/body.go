package event

import (
	"bytes"
	"time"
)

// MaxBodyBytes bounds a body as it is sent, envelope included. What a client posts
// may be longer: white space and needless escapes do not count.
const MaxBodyBytes = 256 << 10

// milliseconds is RFC 3339 in UTC with the precision of a JavaScript Date.
const milliseconds = "2006-01-02T15:04:05.000Z"

// Body returns the bytes that are signed and sent for an event: the type, the time
// (UTC, cut to milliseconds, the fraction left out where it is zero) and data in its
// JS-stable form. Data must be an object. MaxDepth counts from the body, so data may
// have one level less.
//
// A refusal is an *Error whose pointer begins with /event, /timestamp or /data.
func Body(t Type, at time.Time, data []byte) ([]byte, error) {
	if !known(t) {
		return nil, &Error{Pointer: "/event", Reason: UnknownType, Detail: NoType}
	}
	at = at.UTC()
	if year := at.Year(); year < 0 || year > 9999 { // an offset can push it over
		return nil, &Error{Pointer: "/timestamp", Reason: InvalidTime, Detail: "in UTC, its year must be 0000 to 9999"}
	}
	layout := time.RFC3339
	if at.Nanosecond() >= int(time.Millisecond) {
		layout = milliseconds
	}
	const envelope = len(`{"event":"","timestamp":"","data":}`) + len(milliseconds)
	body := make([]byte, 0, envelope+len(t)+len(data))
	body = append(body, `{"event":"`...)
	body = append(body, t...)
	body = append(body, `","timestamp":"`...)
	body = at.AppendFormat(body, layout)
	body = append(body, `","data":`...)
	root := len(body)
	body, err := appendNormalised(body, data, MaxDepth-1)
	if err == nil && body[root] != '{' {
		err = &Error{Reason: NotObject, Detail: "must be an object"}
	}
	if err == nil && len(body) >= MaxBodyBytes { // the closing brace is still to come
		err = tooLarge(len(body) + 1)
	}
	if err != nil {
		return nil, err.within("data")
	}
	return append(body, '}'), nil
}

// Data returns the data of a body that Body made, as it stands there, and false for
// anything else.
func Data(body []byte) ([]byte, bool) {
	// Neither a type nor a time has a quotation mark.
	_, data, ok := bytes.Cut(body, []byte(`,"data":`))
	if !ok || !bytes.HasPrefix(body, []byte(`{"event":"`)) || len(data) < len(`{}}`) {
		return nil, false
	}
	return data[:len(data)-1], true
}
