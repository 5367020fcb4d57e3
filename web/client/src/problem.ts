import type { components } from "./openapi.gen.js";

/** Problem details (RFC 9457), as the API answers them. */
export type Problem = components["schemas"]["Problem"];

/** One fault of a request. */
export type FieldError = NonNullable<Problem["errors"]>[number];

/** The API refused a request, or one event of it. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly type: string;
  readonly title: string;
  /** The HTTP status. */
  readonly status: number;
  readonly detail: string | undefined;
  readonly instance: string | undefined;
  /** The fields at fault, each with a JSON Pointer; empty where no field is. */
  readonly errors: readonly FieldError[];
  /** Finds the request in the API's logs. */
  readonly requestId: string | undefined;
  /** Seconds to wait before the next try, where the API said so. */
  readonly retryAfter: number | undefined;
  /** The whole of it, with what only some types have, such as `metaCode` and `missingScopes`. */
  readonly problem: Readonly<Problem>;

  constructor(problem: Problem, retryAfter?: number) {
    super(
      problem.detail
        ? `${problem.status} ${problem.title}: ${problem.detail}`
        : `${problem.status} ${problem.title}`,
    );
    this.type = problem.type;
    this.title = problem.title;
    this.status = problem.status;
    this.detail = problem.detail;
    this.instance = problem.instance;
    this.errors = problem.errors ?? [];
    this.requestId = problem.requestId;
    this.retryAfter = retryAfter;
    this.problem = problem;
  }
}

/** There is no answer, or none that can be read: it is not known what became of the request. */
export class ConnectionError extends Error {
  override readonly name: string = "ConnectionError";
}

/** There is no answer in time. */
export class TimeoutError extends ConnectionError {
  override readonly name = "TimeoutError";
}

/** The error that an answer is. A proxy may have written it: then its status says all. */
export function problemOf(response: Response, body: unknown): ProblemError {
  const retryAfter = retryAfterOf(response.headers.get("Retry-After"));
  if (isProblem(body)) {
    return new ProblemError({ ...body, status: response.status }, retryAfter);
  }
  const title = response.statusText || "The API refused the request";
  return new ProblemError({ type: "about:blank", title, status: response.status }, retryAfter);
}

function isProblem(body: unknown): body is Problem {
  return (
    typeof body === "object" &&
    body !== null &&
    "type" in body &&
    typeof body.type === "string" &&
    "title" in body &&
    typeof body.title === "string"
  );
}

/** Reads the header in either of its forms, a number of seconds or a date. */
function retryAfterOf(value: string | null): number | undefined {
  if (value === null) {
    return undefined;
  }
  if (/^\d{1,9}$/.test(value)) {
    return Number(value);
  }
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, (at - Date.now()) / 1000);
}
