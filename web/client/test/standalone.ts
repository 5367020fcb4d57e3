// A running installation of the product, for the tests of a file.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Where go.work is. */
const root = repository(new URL(".", import.meta.url));

export interface Standalone {
  url: string;
  apiKey: string;
  tenantId: string;
  /** Where a simulated Meta is told what people do. */
  metaSimulator: string;
  stop(): Promise<void>;
}

/**
 * Builds the program and runs it on a directory and ports of its own until it is ready. Settings are names and
 * values of its environment.
 */
export async function startStandalone(settings: Record<string, string> = {}): Promise<Standalone> {
  const program = join(root, "bin/test/standalone-web");
  execFileSync("go", ["build", "-o", program, "./services/standalone"], { cwd: root, stdio: "inherit" });
  const dir = mkdtempSync(join(tmpdir(), "primezap-web-"));
  const child = spawn(program, {
    // Nothing of the tester's own environment but where programs are.
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      DATA_DIR: dir,
      HTTP_ADDR: "127.0.0.1:0",
      ADMIN_ADDR: "127.0.0.1:0",
      CORS_ORIGINS: "http://dashboard.test",
      LOG_LEVEL: "warn",
      META_SIMULATOR_ADDR: "127.0.0.1:0",
      ...settings,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill); // a test that ends early leaves nothing behind
  const ready = await readyLine(child);
  return {
    ...ready,
    stop: async () => {
      child.kill("SIGTERM");
      await once(child, "exit");
      process.off("exit", kill);
      rmSync(dir, { recursive: true });
    },
  };
}

async function readyLine(child: ChildProcess): Promise<Omit<Standalone, "stop">> {
  const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
  try {
    for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
      return JSON.parse(line);
    }
    throw new Error("the installation has ended before it was ready");
  } finally {
    clearTimeout(timer);
  }
}

function repository(folder: URL): string {
  return existsSync(new URL("go.work", folder)) ? folder.pathname : repository(new URL("../", folder));
}
