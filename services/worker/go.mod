module github.com/primezap/primezap/services/worker

go 1.26.8

require github.com/primezap/primezap v0.0.0

replace github.com/primezap/primezap => ../..
