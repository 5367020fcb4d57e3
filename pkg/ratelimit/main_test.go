package ratelimit

import (
	"fmt"
	"os"
	"testing"

	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(takerJob); job != "" { // a process of TestLimiter_Processes
		if err := take(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testenv.Main(m)
}
