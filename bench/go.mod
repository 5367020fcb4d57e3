module github.com/primezap/primezap/bench

go 1.26.8

require (
	github.com/primezap/primezap v0.0.0
	github.com/primezap/primezap/services/api v0.0.0
	github.com/primezap/primezap/services/standalone v0.0.0
	github.com/primezap/primezap/services/worker v0.0.0
	github.com/prometheus/procfs v0.22.0
)

require (
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/primezap/primezap => ../

replace github.com/primezap/primezap/services/api => ../services/api

replace github.com/primezap/primezap/services/worker => ../services/worker

replace github.com/primezap/primezap/services/standalone => ../services/standalone
