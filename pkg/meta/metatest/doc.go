// Package metatest is a simulated Graph API of Meta, with the behaviour that Meta
// documents: for tests, and to try the product without an account at Meta. Nothing
// of it reaches Meta.
//
// A [Server] is an http.Handler with a [World] of phone numbers, pages, Instagram
// accounts, users and people. It answers, with a version in the path or without:
//
//	GET  /dialog/oauth                                          a page: the consent dialog
//	GET, POST /oauth/access_token                               codes and tokens for tokens
//	GET  /debug_token                                           with the app's token: {app}|{secret}
//	GET  /me, /{phone-number-id}, /{page-id}, /{instagram-id}   ?fields=…
//	GET  /me/accounts
//	GET, DELETE /me/permissions, DELETE /me/permissions/{name}
//	GET, POST, DELETE /{page-id}/subscribed_apps
//	POST /{phone-number-id}/messages                            WhatsApp: send, mark as read
//	POST /{page-id}/messages, /{instagram-id}/messages, /me/messages
//
// What it accepts it records ([Server.Sent]), and tells what became of it by signed
// webhooks to the callback URL. It also plays a person who writes ([Server.Play]),
// users who log in ([Server.Consent]) or take back what they allowed
// ([Server.Deauthorize]), and fails on demand ([Server.Inject]). The same over HTTP,
// for programs that are no Go test: the paths below /simulate, which GET / lists.
//
// What a token may do is what its user allows the app at the time, and the token of a
// page that came by it ends with that. Tokens that the [World] itself has of numbers
// and pages are nobody's, and may do all.
//
// # What is promised
//
// Webhooks of one person leave in the order in which things happened and one after
// another, unless [Statuses] asks for disorder or an attempt failed: what failed
// comes later, as it does from Meta. The queue of webhooks, the attempts at each and
// all that is remembered are bounded. A code that comes to be exchanged is counted,
// whatever becomes of the call ([Server.CodeTries]). Close waits for every goroutine.
package metatest
