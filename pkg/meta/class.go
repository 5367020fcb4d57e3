package meta

import "net/http"

// Class says what to do about an error.
type Class string

// The classes. Of those from Auth on, the same call fails again.
const (
	// Retryable: the same call may succeed soon.
	Retryable Class = "retryable"
	// RateLimited: too many calls for this account; none of it before a while.
	RateLimited Class = "rate_limited"
	// RateLimitedRecipient: too many messages to this person; others go on.
	RateLimitedRecipient Class = "rate_limited_recipient"
	// Auth: the token is not taken; somebody has to connect the account anew.
	Auth Class = "auth"
	// Permission: the token or the app may not do this.
	Permission Class = "permission"
	// Permanent: this call cannot succeed.
	Permanent Class = "permanent"
	// Template: the template, or what was filled into it, is wrong.
	Template Class = "template"
	// TemplateStopped: Meta stopped the template; no message with it will go.
	TemplateStopped Class = "template_stopped"
	// Paused: Meta holds this account's messages back for hours, for their quality.
	Paused Class = "paused"
	// Policy: Meta blocked the account; somebody has to look at it.
	Policy Class = "policy"
)

// classes are what the codes mean, as far as they are known. Permissions are 200
// to 299 besides.
var classes = map[int]Class{
	// Of the service.
	1:      Retryable, // unknown
	2:      Retryable, // away
	131000: Retryable, // something went wrong: worth few tries
	131016: Retryable, // away
	131057: Retryable, // the account is being upgraded, a minute at most
	133004: Retryable, // away

	// Of the frequency.
	4:      RateLimited, // calls of the app
	17:     RateLimited, // calls of the user
	32:     RateLimited, // calls of the page
	341:    RateLimited,
	613:    RateLimited,
	80001:  RateLimited, // pages
	80002:  RateLimited, // Instagram
	80006:  RateLimited, // Messenger
	80007:  RateLimited, // WhatsApp Business account
	80008:  RateLimited, // its management
	130429: RateLimited, // messages of the number
	132069: RateLimited, // messages with this flow
	131056: RateLimitedRecipient,

	// Of the token.
	0:   Auth,
	102: Auth,
	190: Auth,

	// Of what it may do.
	3:      Permission,
	10:     Permission,
	131005: Permission,

	// Of the call.
	33:     Permanent, // no such object, or not for this token
	100:    Permanent, // a parameter, also appsecret_proof
	506:    Permanent, // the same again
	2635:   Permanent, // a version that is served no more
	131008: Permanent, // a parameter is missing
	131009: Permanent, // a parameter's value
	135000: Permanent, // a parameter, nobody knows which

	// Of the recipient.
	130403: Permanent, // we blocked them
	130472: Permanent, // part of an experiment
	131021: Permanent, // the sender itself
	131026: Permanent, // cannot be reached
	131030: Permanent, // not on the list of a test number
	131047: Permanent, // wrote more than 24 hours ago
	131049: Permanent, // gets enough marketing: not before a day has passed
	131050: Permanent, // wants no marketing
	131062: Permanent, // known by user id alone, which this template cannot go to

	// Of the message.
	131051: Permanent, // its type
	131052: Permanent, // its media cannot be read
	131053: Permanent, // its media cannot be stored
	131055: Permanent, // the way of sending
	131063: Permanent,

	// Of the account.
	131037: Permanent, // its display name is not approved
	131042: Permanent, // its payment
	131045: Permanent, // its registration
	133010: Permanent, // not registered
	134011: Permanent, // its payment terms

	// Of the template.
	132000: Template,        // the count of its parameters
	132001: Template,        // there is none by this name and language
	132005: Template,        // filled in, it is too long
	132007: Template,        // its content breaks a rule
	132012: Template,        // the form of a parameter
	132018: Template,        // a parameter
	132068: Template,        // its flow is blocked
	132015: TemplateStopped, // paused
	132016: TemplateStopped, // disabled

	// Of the quality.
	131048: Paused, // reported as spam
	131064: Paused, // limit of a template
	368:    Policy, // blocked for a while
	130497: Policy, // not to this country
	131031: Policy, // locked
}

// ClassOf is what a code means that came without an HTTP status of its own, as in
// a message's status.
func ClassOf(code int) Class {
	if class, ok := known(code); ok {
		return class
	}
	return Permanent
}

func known(code int) (Class, bool) {
	if code >= 200 && code <= 299 {
		return Permission, true
	}
	class, ok := classes[code]
	return class, ok
}

// classify sets the error's class: by its code, and by its status where that says
// nothing. anonymous: the call had no token.
func (e *Error) classify(anonymous bool) {
	class, ok := known(e.Code)
	switch {
	case e.Transient:
		e.Class = Retryable
	case e.Coded && e.Code == 200 && anonymous:
		e.Class = Auth
	case e.Coded && ok:
		e.Class = class
	case !e.Coded && e.Type == "OAuthException" && e.Status < http.StatusInternalServerError:
		e.Class = Auth
	case e.Status == http.StatusTooManyRequests:
		e.Class = RateLimited
	case e.Status >= http.StatusInternalServerError:
		e.Class = Retryable
	default:
		e.Class = Permanent
	}
}
