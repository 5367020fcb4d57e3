// Signatures of webhooks, for whoever receives them: in Node.js 20 and later, in
// browsers and on the edge. Each check covers the body's exact bytes.

/** A request's body as it arrived. */
export type WebhookPayload = string | Uint8Array | ArrayBuffer;

/** A request's headers, as fetch or Node.js has them. */
export type WebhookHeaders =
  | { get(name: string): string | null }
  | Readonly<Record<string, string | readonly string[] | undefined>>;

/** What a webhook tells. */
export interface WebhookEvent {
  /** The event's id, the same whenever it is sent again: handle each id once. */
  id: string;
  /** The event's type, such as `deal.moved`. */
  event: string;
  /** When it happened, in RFC 3339. */
  timestamp: string;
  data: Record<string, unknown>;
}

/**
 * Why a webhook is not to be trusted: a header is missing (`notSigned`), the timestamp is no number, the
 * attempt was made too long ago (`tooOld`) or is ahead of the clock (`tooNew`), no `signature` is that of this
 * body under the secret. `secret` is a fault of the receiver: no webhook has such a secret.
 */
export type WebhookVerificationReason =
  | "notSigned"
  | "timestamp"
  | "tooOld"
  | "tooNew"
  | "signature"
  | "secret";

export class WebhookVerificationError extends Error {
  override readonly name = "WebhookVerificationError";
  readonly reason: WebhookVerificationReason;

  constructor(reason: WebhookVerificationReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

export interface VerifyOptions {
  /** How far the timestamp may be from the clock, in either direction. Default: 300. */
  toleranceSeconds?: number;
  /** The time, in Unix seconds. Default: the clock's. */
  now?: number;
}

/**
 * Tells whether `signature`, the header `X-Webhook-Signature`, is that of the payload: its HMAC-SHA256 in
 * hexadecimal. It says nothing about when the request was made; `verifyStandardWebhook` does. Throws a
 * WebhookVerificationError only where the secret is none.
 */
export async function verifyWebhook(
  payload: WebhookPayload,
  signature: string | null | undefined,
  secret: string,
): Promise<boolean> {
  standardKey(secret); // throws where it is none
  const mac = await hmac(utf8(secret), bytesOf(payload));
  const expected = Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return equal(signature ?? "", expected);
}

/**
 * Checks the Standard Webhooks signature of a request, its age included, and returns what it tells. While a
 * replaced secret is still honoured a request has two signatures, and either secret will do. Throws a
 * WebhookVerificationError where the request is not to be trusted.
 */
export async function verifyStandardWebhook(
  payload: WebhookPayload,
  headers: WebhookHeaders,
  secret: string,
  options: VerifyOptions = {},
): Promise<WebhookEvent> {
  const { toleranceSeconds = 300, now = Date.now() / 1000 } = options;
  const key = standardKey(secret);
  const [id, timestamp, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => {
    const value = headerOf(headers, name);
    if (!value) {
      throw new WebhookVerificationError("notSigned", `there is no header ${name}`);
    }
    return value;
  }) as [string, string, string];

  if (!/^\d{1,12}$/.test(timestamp)) {
    throw new WebhookVerificationError("timestamp", "webhook-timestamp is not a number of seconds");
  }
  const age = Math.floor(now) - Number(timestamp);
  if (age > toleranceSeconds) {
    throw new WebhookVerificationError("tooOld", "webhook-timestamp is too old");
  }
  if (age < -toleranceSeconds) {
    throw new WebhookVerificationError("tooNew", "webhook-timestamp is ahead of the clock");
  }

  const body = bytesOf(payload);
  const mac = await hmac(key, utf8(`${id}.${timestamp}.`), body);
  const expected = `v1,${btoa(String.fromCharCode(...mac))}`;
  if (!signatures.split(" ").some((signature) => equal(signature, expected))) {
    throw new WebhookVerificationError("signature", "no signature is that of this body");
  }
  return { ...JSON.parse(new TextDecoder().decode(body)), id };
}

/** The key of the Standard Webhooks signature: what a secret `whsec_…` decodes to, or the bytes of any other. */
function standardKey(secret: string): Uint8Array<ArrayBuffer> {
  const fault = (what: string) => new WebhookVerificationError("secret", `the secret ${what}`);
  if (typeof secret !== "string" || secret.length < 16 || secret.length > 256) {
    throw fault("must have 16 to 256 characters");
  }
  if (!/^[ -~]*$/.test(secret)) {
    throw fault("must be printable ASCII");
  }
  if (!secret.startsWith("whsec_")) {
    return utf8(secret);
  }
  const encoded = secret.slice("whsec_".length);
  try {
    const decoded = atob(encoded);
    if (btoa(decoded) === encoded) {
      return Uint8Array.from(decoded, (char) => char.charCodeAt(0));
    }
  } catch {
    // Not base64 at all.
  }
  throw fault("must go on in padded base64 after whsec_");
}

async function hmac(
  key: Uint8Array<ArrayBuffer>,
  ...parts: Uint8Array<ArrayBuffer>[]
): Promise<Uint8Array<ArrayBuffer>> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const imported = await crypto.subtle.importKey("raw", key, algorithm, false, ["sign"]);
  const message = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    message.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, message));
}

/** Compares in a time that does not tell where the difference is. */
function equal(given: string, expected: string): boolean {
  let difference = given.length ^ expected.length;
  for (let i = 0; i < expected.length; i++) {
    difference |= given.charCodeAt(i) ^ expected.charCodeAt(i); // NaN, beyond the end, counts as 0
  }
  return difference === 0;
}

function headerOf(headers: WebhookHeaders, name: string): string | null | undefined {
  if (typeof headers.get === "function") {
    return headers.get(name);
  }
  for (const [key, value] of Object.entries(headers)) {
    if (key.toLowerCase() === name) {
      return typeof value === "string" ? value : value?.[0];
    }
  }
  return undefined;
}

function bytesOf(payload: WebhookPayload): Uint8Array<ArrayBuffer> {
  if (typeof payload === "string") {
    return utf8(payload);
  }
  if (payload instanceof ArrayBuffer || payload instanceof Uint8Array) {
    return new Uint8Array(payload);
  }
  throw new TypeError("the payload must be the body as it arrived, not what it was decoded to");
}

function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
