package messaging

import (
	"time"

	"github.com/google/uuid"
)

// ConversationStatus is whether somebody has to answer.
type ConversationStatus string

// A conversation is pending when it waits for something else than an answer. On one
// connection a contact has one at most that is not closed.
const (
	Open    ConversationStatus = "open"
	Pending ConversationStatus = "pending"
	Closed  ConversationStatus = "closed"
)

// Conversation is what a contact and an account write to each other until it is
// closed.
type Conversation struct {
	ID            uuid.UUID          `json:"id"`
	Channel       Channel            `json:"channel"`
	ConnectionID  uuid.UUID          `json:"connectionId"`
	Status        ConversationStatus `json:"status"`
	Assignee      *Agent             `json:"assignee"`
	LastMessageAt *time.Time         `json:"lastMessageAt"`
	LastInboundAt *time.Time         `json:"lastInboundAt"`
	CreatedAt     time.Time          `json:"createdAt"`
	ClosedAt      *time.Time         `json:"closedAt"`
}
