module github.com/primezap/primezap/services/standalone

go 1.26.8

require (
	github.com/primezap/primezap v0.0.0
	github.com/primezap/primezap/services/api v0.0.0
	github.com/primezap/primezap/services/worker v0.0.0
)

require github.com/google/uuid v1.6.0 // indirect

replace github.com/primezap/primezap => ../..

replace github.com/primezap/primezap/services/api => ../api

replace github.com/primezap/primezap/services/worker => ../worker
