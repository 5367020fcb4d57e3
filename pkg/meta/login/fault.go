package login

import (
	"errors"
	"fmt"
	"strings"

	"github.com/primezap/primezap/pkg/meta"
)

// ErrApp means that Meta does not take the app's id and secret: who runs the app has to
// look at its settings, and nobody needs to log in anew. It comes with the [*meta.Error],
// whose class is then [meta.Permanent]: Meta gives codes that stand for other things.
var ErrApp = errors.New("Meta does not take the app's id and secret") //nolint:staticcheck // a name

// appFault is err, as ErrApp where it is one. own: the call's token was the app's.
func appFault(err error, own bool) error {
	failed, ok := errors.AsType[*meta.Error](err)
	if !ok || !ofApp(failed, own) {
		return err
	}
	permanent := *failed
	permanent.Class = meta.Permanent
	return fmt.Errorf("%w: %w", ErrApp, &permanent)
}

// ofApp says whether an answer is about the app rather than about somebody's token.
func ofApp(e *meta.Error, own bool) bool {
	message := strings.ToLower(e.Message)
	switch e.Code {
	case 1: // which is a failure that passes otherwise
		return strings.Contains(message, "client secret") || strings.Contains(message, "client_secret")
	case 100:
		return strings.Contains(message, "appsecret_proof")
	case 101:
		return true
	}
	return own && e.Coded && e.Class == meta.Auth
}
