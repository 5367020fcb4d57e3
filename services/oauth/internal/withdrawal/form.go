package withdrawal

import (
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/primezap/primezap/pkg/problem"
)

const (
	field     = "signed_request"
	maxSigned = 8 << 10 // bytes
)

// Form reads the form that Meta posts, and refuses what is none. Fields that Meta may add
// are passed over.
func Form(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		req := c.Request()
		c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
		media, _, err := mime.ParseMediaType(req.Header.Get(echo.HeaderContentType))
		if err != nil || media != echo.MIMEApplicationForm {
			return problem.New(http.StatusUnsupportedMediaType, "", "the body must be "+echo.MIMEApplicationForm)
		}
		if encoding := req.Header.Get(echo.HeaderContentEncoding); encoding != "" && encoding != "identity" {
			return problem.New(http.StatusUnsupportedMediaType, "", "the body must not be compressed")
		}
		if err := req.ParseForm(); err != nil {
			if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
				return err
			}
			return problem.BadRequest("the form cannot be read").WithCause(err)
		}
		if fault := check(req.PostForm[field]); fault != "" {
			return problem.Invalid(problem.FieldError{Pointer: problem.Pointer(field), Detail: fault})
		}
		return next(c)
	}
}

func check(values []string) (fault string) {
	switch {
	case len(values) == 0 || values[0] == "":
		return "is required"
	case len(values) > 1:
		return "is given twice"
	case len(values[0]) > maxSigned:
		return fmt.Sprintf("must have at most %d bytes", maxSigned)
	}
	return ""
}
