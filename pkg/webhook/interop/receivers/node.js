// Node.js alone, checking webhook-signature without a library.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const secret = process.env.WEBHOOK_SECRET;
const key = secret.startsWith("whsec_")
  ? Buffer.from(secret.slice("whsec_".length), "base64")
  : Buffer.from(secret);

function verify(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp } = headers;
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - timestamp) > 300) {
    return false; // more than five minutes away
  }
  const hmac = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body);
  const expected = Buffer.from(`v1,${hmac.digest("base64")}`);
  // Two signatures, a space between, for a while after the secret was replaced.
  return (headers["webhook-signature"] ?? "").split(" ").some((value) => {
    const signature = Buffer.from(value);
    return signature.length === expected.length && timingSafeEqual(signature, expected);
  });
}

const server = createServer(async (req, res) => {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const verified = verify(req.headers, body);
  res.writeHead(verified ? 204 : 401).end();
  if (verified) console.log("verified", JSON.parse(body).event);
});

server.listen(process.env.PORT ?? 3000, () => {
  console.log("listening on", server.address().port);
});
