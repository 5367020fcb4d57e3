package problem

// The types of problems that a client may want to tell from others of the same
// status. They are names, not addresses.
const (
	TypeIdempotencyKeyReused   = "urn:primezap:problem:idempotency-key-reused"
	TypeEventIDReused          = "urn:primezap:problem:event-id-reused"
	TypeBodyExpired            = "urn:primezap:problem:body-expired"
	TypeWebhookLimit           = "urn:primezap:problem:webhook-limit" // the tenant may have no more of them
	TypeAPIKeyLimit            = "urn:primezap:problem:api-key-limit"
	TypeIngestLimit            = "urn:primezap:problem:ingest-limit"
	TypeRateLimit              = "urn:primezap:problem:rate-limit" // the connection has sent enough
	TypeConnectionLimit        = "urn:primezap:problem:connection-limit"
	TypeConnectionTaken        = "urn:primezap:problem:connection-taken" // by whomever
	TypeMetaRefused            = "urn:primezap:problem:meta-refused"     // what the request gave
	TypeMetaUnreachable        = "urn:primezap:problem:meta-unreachable"
	TypeOAuthNotConfigured     = "urn:primezap:problem:oauth-not-configured"
	TypeOAuthDenied            = "urn:primezap:problem:oauth-denied"
	TypeOAuthPermissionMissing = "urn:primezap:problem:oauth-permission-missing"
	TypeOAuthStateInvalid      = "urn:primezap:problem:oauth-state-invalid"
	TypeOAuthStateExpired      = "urn:primezap:problem:oauth-state-expired"
	TypeOAuthStateUsed         = "urn:primezap:problem:oauth-state-used"
	TypeOAuthRedirectMismatch  = "urn:primezap:problem:oauth-redirect-mismatch"
	TypeOAuthCodeInvalid       = "urn:primezap:problem:oauth-code-invalid"
	TypeOAuthCodeUsed          = "urn:primezap:problem:oauth-code-used"
	TypeOAuthCodeExpired       = "urn:primezap:problem:oauth-code-expired"
	TypeOAuthLimit             = "urn:primezap:problem:oauth-limit"
	TypeReconnectRequired      = "urn:primezap:problem:reconnect-required"
	TypeMetaThrottled          = "urn:primezap:problem:meta-throttled"
)

// titles are the same for every problem of a type.
var titles = map[string]string{
	TypeIdempotencyKeyReused:   "Idempotency key reused",
	TypeEventIDReused:          "Event id reused",
	TypeBodyExpired:            "Body expired",
	TypeWebhookLimit:           "Too many webhooks",
	TypeAPIKeyLimit:            "Too many API keys",
	TypeIngestLimit:            "Too many events",
	TypeRateLimit:              "Too many messages",
	TypeConnectionLimit:        "Too many connections",
	TypeConnectionTaken:        "Connected already",
	TypeMetaRefused:            "Refused by Meta",
	TypeMetaUnreachable:        "Meta cannot be reached",
	TypeOAuthNotConfigured:     "Facebook Login is not configured",
	TypeOAuthDenied:            "Consent denied",
	TypeOAuthPermissionMissing: "Permission missing",
	TypeOAuthStateInvalid:      "State invalid",
	TypeOAuthStateExpired:      "State expired",
	TypeOAuthStateUsed:         "State used",
	TypeOAuthRedirectMismatch:  "Redirect URI mismatch",
	TypeOAuthCodeInvalid:       "Code invalid",
	TypeOAuthCodeUsed:          "Code used",
	TypeOAuthCodeExpired:       "Code expired",
	TypeOAuthLimit:             "Too many actions",
	TypeReconnectRequired:      "Reconnect required",
	TypeMetaThrottled:          "Throttled by Meta",
}

// WithType returns a copy of one of these types, with its title.
func (p *Problem) WithType(uri string) *Problem {
	c := *p
	c.Type, c.Title = uri, titles[uri]
	return &c
}
