import { readFileSync } from "node:fs";
import { defineConfig } from "vite";
import { PAYLOAD_MARKER, samplePayload, singlePage } from "./single_page";

// `npm run dev` shows the report in NIBBLE_REPORT_PAYLOAD, a JSON file as to_json() makes it.
const sample = process.env.NIBBLE_REPORT_PAYLOAD;

export default defineConfig({
  base: "./",
  plugins: [samplePayload(sample === undefined ? PAYLOAD_MARKER : readFileSync(sample, "utf8")), singlePage()],
  esbuild: { legalComments: "none" }, // the page carries the notices of what it bundles in one place
  build: {
    target: "es2020",
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000,
    rollupOptions: { input: process.env.NIBBLE_PAGE ?? "report.html" },
  },
});
