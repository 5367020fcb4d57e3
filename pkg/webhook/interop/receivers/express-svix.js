// Express with the raw body, checking webhook-signature with the svix package.
import express from "express";
import { Webhook } from "svix";

const secret = process.env.WEBHOOK_SECRET;
// A secret of your own, without the prefix whsec_, is the key as it stands.
const webhook = new Webhook(secret, secret.startsWith("whsec_") ? {} : { format: "raw" });
const app = express();

app.post("/webhooks", express.raw({ type: "application/json", limit: "300kb" }), (req, res) => {
  let event;
  try {
    event = webhook.verify(req.body, req.headers); // the timestamp too
  } catch {
    return res.sendStatus(401);
  }
  console.log("verified", event.event);
  res.sendStatus(204);
});

const server = app.listen(process.env.PORT ?? 3000, () => {
  console.log("listening on", server.address().port);
});
