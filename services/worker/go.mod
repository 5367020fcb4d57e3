module github.com/primezap/primezap/services/worker

go 1.26.8

require github.com/primezap/primezap v0.0.0

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
)

replace github.com/primezap/primezap => ../..
