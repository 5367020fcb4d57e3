package metatest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
)

// GraphError is an error as the Graph API answers it. What is zero of one made for a
// known code is filled in with what Meta says; see [ErrorOf].
type GraphError struct {
	Code      int    `json:"code"`
	Subcode   int    `json:"subcode,omitempty"`
	Type      string `json:"type,omitempty"`
	Message   string `json:"message,omitempty"`
	Details   string `json:"details,omitempty"` // error_data.details
	UserTitle string `json:"userTitle,omitempty"`
	UserMsg   string `json:"userMsg,omitempty"`
	Transient bool   `json:"transient,omitempty"`
	Status    int    `json:"status,omitempty"` // of HTTP
}

func (e *GraphError) Error() string { return fmt.Sprintf("%s (code %d)", e.Message, e.Code) }

const (
	oauthException  = "OAuthException"
	methodException = "GraphMethodException"
)

// known is what Meta says beside a code.
var known = map[int]GraphError{
	1:      {Message: "An unknown error has occurred.", Status: 500},
	2:      {Message: "Service temporarily unavailable", Status: 503, Transient: true},
	3:      {Message: "(#3) Application does not have the capability to make this API call.", Status: 500},
	4:      {Message: "(#4) Application request limit reached", Status: 429, Transient: true},
	10:     {Message: "(#10) Application does not have permission for this action", Status: 403},
	17:     {Message: "(#17) User request limit reached", Status: 429, Transient: true},
	32:     {Message: "(#32) Page request limit reached", Status: 429, Transient: true},
	100:    {Message: "(#100) Invalid parameter"},
	190:    {Message: "Invalid OAuth access token - Cannot parse access token", Status: 401},
	200:    {Message: "(#200) Provide valid app ID", Status: 403},
	210:    {Message: "(#210) A page access token is required to request this resource.", Status: 403},
	368:    {Message: "(#368) Temporarily blocked for policies violations"},
	80007:  {Message: "(#80007) There have been too many calls from this WhatsApp Business account. Wait a bit and try again.", Status: 429},
	130429: {Message: "(#130429) Rate limit hit", Details: "Message failed to send because there were too many messages sent from this phone number in a short period of time", Status: 429},
	131000: {Message: "(#131000) Something went wrong", Status: 500},
	131005: {Message: "(#131005) Access denied", Status: 403},
	131008: {Message: "(#131008) Required parameter is missing"},
	131009: {Message: "(#131009) Parameter value is not valid"},
	131016: {Message: "(#131016) Service unavailable", Status: 500},
	131026: {Message: "Message undeliverable", Details: "Message Undeliverable."},
	131030: {Message: "(#131030) Recipient phone number not in allowed list"},
	131047: {Message: "Re-engagement message", Details: "Message failed to send because more than 24 hours have passed since the customer last replied to this number."},
	131048: {Message: "(#131048) Spam rate limit hit", Status: 429},
	131049: {Message: "This message was not delivered to maintain healthy ecosystem engagement."},
	131056: {Message: "(#131056) (Business Account, Consumer Account) pair rate limit hit", Details: "Message failed to send because there were too many messages sent from this phone number to the same phone number in a short period of time"},
	131057: {Message: "(#131057) Account in maintenance mode", Status: 500},
	132000: {Message: "(#132000) Number of parameters does not match the expected number of params"},
	132001: {Message: "(#132001) Template name does not exist in the translation", Status: 404},
	133010: {Message: "(#133010) Phone number not registered"},
}

// ErrorOf is the error that Meta answers with a code.
func ErrorOf(code int) *GraphError { return (&GraphError{Code: code}).complete() }

// complete fills in what is missing.
func (e *GraphError) complete() *GraphError {
	full, usual := *e, known[e.Code]
	full.Message = cmp.Or(e.Message, usual.Message, fmt.Sprintf("(#%d) Simulated error", e.Code))
	full.Type = cmp.Or(e.Type, usual.Type, oauthException)
	full.Details = cmp.Or(e.Details, usual.Details)
	full.Status = cmp.Or(e.Status, usual.Status, http.StatusBadRequest)
	full.Transient = e.Transient || usual.Transient
	return &full
}

// body is the error as it is answered.
func (e *GraphError) body(trace string) []byte {
	type data struct {
		Product string `json:"messaging_product"`
		Details string `json:"details"`
	}
	shape := struct {
		Message   string `json:"message"`
		Type      string `json:"type"`
		Code      int    `json:"code"`
		Data      *data  `json:"error_data,omitempty"`
		Subcode   int    `json:"error_subcode,omitempty"`
		Transient bool   `json:"is_transient,omitempty"`
		Title     string `json:"error_user_title,omitempty"`
		Msg       string `json:"error_user_msg,omitempty"`
		Trace     string `json:"fbtrace_id"`
	}{e.Message, e.Type, e.Code, nil, e.Subcode, e.Transient, e.UserTitle, e.UserMsg, trace}
	if e.Details != "" {
		shape.Data = &data{"whatsapp", e.Details}
	}
	return encode(map[string]any{"error": shape})
}

// encode marshals what always can be.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("metatest: encode %T: %v", v, err))
	}
	return b
}

// badParameter is code 100.
func badParameter(format string, a ...any) *GraphError {
	return (&GraphError{Code: 100, Message: "(#100) " + fmt.Sprintf(format, a...)}).complete()
}

// badValue is what WhatsApp says of a value that cannot be.
func badValue(format string, a ...any) *GraphError {
	return (&GraphError{Code: 131009, Details: fmt.Sprintf(format, a...)}).complete()
}

// missing is what WhatsApp says of what is not there.
func missing(name string) *GraphError {
	return (&GraphError{Code: 131008, Details: fmt.Sprintf("Parameter '%s' is mandatory", name)}).complete()
}

// noObject is answered for an object that is not there, or not the token's.
func noObject(method, id string) *GraphError {
	verb := "get"
	if method != http.MethodGet {
		verb = "post"
	}
	return (&GraphError{
		Code: 100, Subcode: 33, Type: methodException,
		Message: fmt.Sprintf("Unsupported %s request. Object with ID '%s' does not exist, cannot be loaded due to missing permissions, or does not support this operation. Please read the Graph API documentation at https://developers.facebook.com/docs/graph-api", verb, id),
	}).complete()
}

// unknownPath is answered for a path, or a version, that is none.
func unknownPath(path string) *GraphError {
	return (&GraphError{Code: 2500, Message: "Unknown path components: " + path}).complete()
}
