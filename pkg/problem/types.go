package problem

// The types of problems that a client may want to tell from others of the same
// status. They are names, not addresses.
const (
	TypeIdempotencyKeyReused = "urn:primezap:problem:idempotency-key-reused"
	TypeEventIDReused        = "urn:primezap:problem:event-id-reused"
	TypeBodyExpired          = "urn:primezap:problem:body-expired"
	TypeWebhookLimit         = "urn:primezap:problem:webhook-limit" // the tenant may have no more of them
	TypeAPIKeyLimit          = "urn:primezap:problem:api-key-limit"
	TypeIngestLimit          = "urn:primezap:problem:ingest-limit"
	TypeRateLimit            = "urn:primezap:problem:rate-limit" // the connection has sent enough
	TypeConnectionLimit      = "urn:primezap:problem:connection-limit"
	TypeConnectionTaken      = "urn:primezap:problem:connection-taken" // by whomever
	TypeMetaRefused          = "urn:primezap:problem:meta-refused"     // what the request gave
	TypeMetaUnreachable      = "urn:primezap:problem:meta-unreachable"
)

// titles are the same for every problem of a type.
var titles = map[string]string{
	TypeIdempotencyKeyReused: "Idempotency key reused",
	TypeEventIDReused:        "Event id reused",
	TypeBodyExpired:          "Body expired",
	TypeWebhookLimit:         "Too many webhooks",
	TypeAPIKeyLimit:          "Too many API keys",
	TypeIngestLimit:          "Too many events",
	TypeRateLimit:            "Too many messages",
	TypeConnectionLimit:      "Too many connections",
	TypeConnectionTaken:      "Connected already",
	TypeMetaRefused:          "Refused by Meta",
	TypeMetaUnreachable:      "Meta cannot be reached",
}

// WithType returns a copy of one of these types, with its title.
func (p *Problem) WithType(uri string) *Problem {
	c := *p
	c.Type, c.Title = uri, titles[uri]
	return &c
}
