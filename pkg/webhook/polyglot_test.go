//go:build polyglot

package webhook_test

import "testing"

// The receivers of docs/receiving.md that need more than Go and Node.js. With
// Python 3.9 and PHP 8 installed:
//
//	go test -tags polyglot ./pkg/webhook
func TestInterop_PolyglotReceivers(t *testing.T) {
	t.Parallel()
	testReceiver(t, receiver{file: "python.py", command: []string{"python3", "receivers/python.py"}})
	testReceiver(t, receiver{file: "php.php", command: []string{"php", "-S", "127.0.0.1:0", "receivers/php.php"}})
}
