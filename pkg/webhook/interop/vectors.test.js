// The shared vectors, checked by the libraries that receivers use.
// Run by `go test ./pkg/webhook`, or here with `npm test`.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { mock, test } from "node:test";
import * as standardwebhooks from "standardwebhooks";
import * as svix from "svix"; // wraps standardwebhooks
import * as svixOwn from "svix-own"; // an older svix, with an implementation of its own

const { vectors, standardRequests, hexRequests } = JSON.parse(
  readFileSync(new URL("../testdata/vectors.json", import.meta.url), "utf8"),
);
const libraries = { standardwebhooks, svix, svixOwn };

const messages = {
  signature: /^No matching signature found$/,
  tooOld: /^Message timestamp too old$/,
  tooNew: /^Message timestamp too new$/,
  timestamp: /^Invalid Signature Headers$/,
  notSigned: /^Missing required headers$/,
};

const webhook = ({ Webhook }, secret) =>
  new Webhook(secret, secret.startsWith("whsec_") ? {} : { format: "raw" });

const hex = (secret, body) => createHmac("sha256", secret).update(body).digest("hex");

test("the file holds vectors of every kind", () => {
  assert.ok(vectors.length >= 10 && standardRequests.length >= 10 && hexRequests.length >= 5);
});

for (const v of vectors) {
  test(`hex signs ${v.name}`, () => {
    assert.equal(hex(v.secret, v.body), v.hex);
    if (!v.notOurs) {
      assert.equal(JSON.stringify(JSON.parse(v.body)), v.body);
    }
  });
  for (const [name, library] of Object.entries(libraries)) {
    test(`${name} signs ${v.name}`, () => {
      const values = [v.secret, ...(v.previous ?? [])].map((secret) =>
        webhook(library, secret).sign(v.id, new Date(v.timestamp * 1000), v.body),
      );
      assert.equal(values.join(" "), v.standard);
    });
  }
}

for (const r of standardRequests) {
  for (const [name, library] of Object.entries(libraries)) {
    test(`${name} ${r.error ? "refuses" : "accepts"} ${r.name}`, () => {
      mock.timers.enable({ apis: ["Date"], now: r.now * 1000 });
      try {
        const verify = () => webhook(library, r.secret).verify(r.body, r.headers);
        if (r.error) {
          assert.throws(verify, (err) => {
            assert.ok(err instanceof library.WebhookVerificationError, String(err));
            assert.match(err.message, messages[r.error]);
            return true;
          });
        } else {
          assert.deepEqual(verify(), JSON.parse(r.body));
        }
      } finally {
        mock.timers.reset();
      }
    });
  }
}

for (const r of hexRequests) {
  test(`hex ${r.error ? "refuses" : "accepts"} ${r.name}`, () => {
    assert.equal(hex(r.secret, r.body) === r.headers["x-webhook-signature"], !r.error);
  });
}
