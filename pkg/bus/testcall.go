package bus

import "github.com/google/uuid"

// TestCall asks a worker, over SubjectTest, for one signed attempt now. JSON.
type TestCall struct {
	Tenant  uuid.UUID `json:"tenant"`
	Webhook uuid.UUID `json:"webhook"`
	Event   string    `json:"event"`
	Body    []byte    `json:"body"` // JS-stable, base64 in JSON as Go does it
}

// TestResult answers a TestCall once its log row is committed. JSON.
type TestResult struct {
	NotFound     bool      `json:"notFound,omitempty"` // the webhook is gone; nothing else is set
	LogID        uuid.UUID `json:"logId"`
	Success      bool      `json:"success"`
	Status       int       `json:"status"` // 0: no answer
	DurationMs   int64     `json:"durationMs"`
	ResponseBody string    `json:"responseBody"`
	ErrorClass   string    `json:"errorClass,omitempty"`
	ErrorMessage string    `json:"errorMessage,omitempty"`
}
