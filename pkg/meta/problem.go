package meta

import "github.com/primezap/primezap/pkg/problem"

// On adds to a problem what Meta said of the error, by which its support finds the call.
func (e *Error) On(p *problem.Problem) *problem.Problem {
	if e.Coded {
		p = p.WithExtension("metaCode", e.Code)
	}
	if e.Subcode != 0 {
		p = p.WithExtension("metaSubcode", e.Subcode)
	}
	if e.FBTraceID != "" {
		p = p.WithExtension("fbtraceId", e.FBTraceID)
	}
	return p
}
