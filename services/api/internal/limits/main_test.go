package limits_test

import (
	"testing"

	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
