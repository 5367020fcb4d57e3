import { defineConfig } from "@playwright/test";
import { chromium } from "./chromium.js";

export default defineConfig({
  testDir: "test",
  outputDir: "build/results",
  reporter: "list",
  forbidOnly: process.env.CI !== undefined,
  // One installation, and two cores: more browsers would only wait for each other.
  workers: 1,
  timeout: 30_000,
  use: {
    locale: "pt-BR",
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: chromium(),
      // Playwright would let every pop-up through.
      ignoreDefaultArgs: ["--disable-popup-blocking"],
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
      ],
    },
  },
});
