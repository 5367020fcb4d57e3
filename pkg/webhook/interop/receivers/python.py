"""Python alone, checking webhook-signature."""
import base64, hashlib, hmac, json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["WEBHOOK_SECRET"]
if SECRET.startswith("whsec_"):
    KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
else:
    KEY = SECRET.encode()


def verify(headers, body: bytes) -> bool:
    """Works with the headers of Flask, Django and FastAPI too; body is the raw bytes."""
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > 300:
        return False  # more than five minutes away
    digest = hmac.digest(KEY, f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(digest)
    # Two signatures, a space between, for a while after the secret was replaced.
    signatures = headers.get("webhook-signature", "").encode().split(b" ")
    return any([hmac.compare_digest(s, expected) for s in signatures])


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        verified = verify(self.headers, body)
        self.send_response(204 if verified else 401)
        self.end_headers()
        if verified:
            print("verified", json.loads(body)["event"], flush=True)


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Receiver)
print("listening on", server.server_port, flush=True)
server.serve_forever()
