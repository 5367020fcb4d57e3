// Judges what Normalise made of a document by what this engine makes of it. Reads a
// question a line, {"src","out","reason"} with src and out in base64 and out null
// where the document was refused; answers each with a line: a JSON string, empty
// when there is nothing to object to.
import { createInterface } from "node:readline";

const MAX_DEPTH = 64;
const MAX_BYTES = 256 * 1024;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// faults returns the reasons for which the document may be refused, found by other
// means than Normalise's, and what it reads as.
function faults(src) {
  let text;
  try {
    text = utf8.decode(src);
  } catch {
    return { found: new Set(["malformed"]) };
  }
  const found = new Set();
  const bare = text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"/gs, '""');
  let depth = 0;
  for (const c of bare) {
    if (c === "{" || c === "[") depth++;
    if (c === "}" || c === "]") depth--;
    if (depth > MAX_DEPTH) found.add("too_deep");
  }
  for (const [literal] of bare.matchAll(/-?[0-9][0-9.eE+-]*/g)) {
    if (/^-?[0-9]+$/.test(literal)) {
      const n = BigInt(literal);
      if (n > BigInt(Number.MAX_SAFE_INTEGER) || n < BigInt(Number.MIN_SAFE_INTEGER)) found.add("unsafe_integer");
    } else if (Math.abs(Number(literal)) === Infinity) {
      found.add("number_overflow");
    }
  }
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    found.add("malformed");
  }
  if (found.size === 0 && Buffer.byteLength(JSON.stringify(value)) > MAX_BYTES) found.add("too_large");
  return { found, value };
}

// same reports whether a and b are equal: kinds, own keys with their order, values.
// The two zeros are one number: JSON.stringify writes no minus zero.
function same(a, b) {
  if (typeof a !== "object" || a === null || typeof b !== "object" || b === null) return a === b;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  const keys = Reflect.ownKeys(a);
  const others = Reflect.ownKeys(b);
  return keys.length === others.length && keys.every((k, i) => k === others[i] && same(a[k], b[k]));
}

function objection({ src, out, reason }) {
  const { found, value } = faults(Buffer.from(src, "base64"));
  if (out === null) {
    // Of a text that cannot be read, what stands before the fault is not ours to judge.
    return found.has(reason) || found.has("malformed") ? "" : `refused as ${reason}; the faults here are [${[...found]}]`;
  }
  if (found.size > 0) return `accepted; the faults here are [${[...found]}]`;
  const text = utf8.decode(Buffer.from(out, "base64"));
  const again = JSON.parse(text);
  if (JSON.stringify(again) !== text) return `is not stable: reads back as ${JSON.stringify(again)}`;
  if (!same(value, again)) return `has other values than the document, which reads ${JSON.stringify(value)}`;
  if (JSON.stringify(value) !== text) return `should be ${JSON.stringify(value)}`;
  return "";
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(objection(JSON.parse(line))) + "\n");
}
