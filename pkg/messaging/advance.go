package messaging

// ConversationAdvanced tells that another message came in a conversation, even one
// that was told late and moves nothing.
func ConversationAdvanced(before, after Conversation, with Contact, by Actor) Event {
	previous := map[string]any{"lastMessageAt": utc(before).LastMessageAt}
	return conversationUpdated(utc(after), with, by, previous, nil)
}
