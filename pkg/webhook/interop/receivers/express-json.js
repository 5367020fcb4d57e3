// Express with express.json(), checking X-Webhook-Signature.
import { createHmac } from "node:crypto";
import express from "express";

const secret = process.env.WEBHOOK_SECRET;
const app = express();
app.use(express.json({ limit: "300kb" })); // a body may have 256 KiB; Express stops at 100 kB

app.post("/webhooks", (req, res) => {
  const expected = createHmac("sha256", secret).update(JSON.stringify(req.body)).digest("hex");
  if (expected !== req.headers["x-webhook-signature"]) {
    return res.sendStatus(401);
  }
  console.log("verified", req.body.event);
  res.sendStatus(204);
});

const server = app.listen(process.env.PORT ?? 3000, () => {
  console.log("listening on", server.address().port);
});
