package refusal

import (
	"errors"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/services/oauth/internal/account"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
)

// The reasons of warnings that are not of package login.
const (
	PageWithoutMessaging = "page_without_messaging"
	ConnectedElsewhere   = "connected_elsewhere"
	ConnectionLimit      = "connection_limit"
	NotUnsubscribed      = "not_unsubscribed"
	NotRevoked           = "not_revoked"
)

// Warning is what could not be done for a page or an Instagram account, either of
// which may be empty. err is why, if there is more to say: Meta's words are added to
// the message, other errors' are not.
func Warning(reason, message, page, instagram string, err error) openapi.OAuthWarning {
	w := openapi.OAuthWarning{Reason: reason, Message: message, PageID: account.Given(page), AccountID: account.Given(instagram)}
	failed, ok := errors.AsType[*meta.Error](err)
	if !ok {
		return w
	}
	w.Message = words(message, failed)
	if failed.Coded {
		w.MetaCode = &failed.Code
	}
	if failed.Subcode != 0 {
		w.MetaSubcode = &failed.Subcode
	}
	w.FbtraceID = account.Given(failed.FBTraceID)
	return w
}

// Left is the warning of what was left out of a list.
func Left(w login.Warning) openapi.OAuthWarning {
	message := map[login.Reason]string{
		login.PageUnreadable:      "a page cannot be read",
		login.PageWithoutToken:    "the user may not act for page " + w.Page,
		login.PagesCut:            "there are more pages than are read",
		login.InstagramUnreadable: "Instagram account " + w.Account + " of page " + w.Page + " cannot be read",
	}[w.Reason]
	return Warning(string(w.Reason), message, w.Page, w.Account, w.Err)
}
