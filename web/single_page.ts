// Vite plugins that make the report one file and put data into it while developing.
import { readFileSync } from "node:fs";
import type { Plugin } from "vite";

/** Stands where nibble/report/report.cc puts the data. */
export const PAYLOAD_MARKER = "NIBBLE_REPORT_PAYLOAD";

/** Text that can stand inside a script element. In JavaScript, `</script` occurs in string literals only. */
export function scriptSafe(code: string): string {
  return code.replace(/<\/(script)/gi, "<\\/$1").replace(/<!--/g, "<\\!--");
}

/** Replaces links to one script and one style sheet by their contents. */
export function inlineAssets(html: string, assets: ReadonlyMap<string, string>): string {
  const contents = (path: string): string => {
    const text = assets.get(path.replace(/^\.\//, ""));
    if (text === undefined) throw new Error(`The page asks for ${path}, which the build did not make.`);
    return text;
  };
  const scripts: string[] = [];
  return html
    .replace(/[ \t]*<script[^>]*\ssrc="([^"]+)"[^>]*><\/script>\s*/g, (_, path: string) => {
      scripts.push(scriptSafe(contents(path)));
      return "";
    })
    .replace(/<link[^>]*rel="stylesheet"[^>]*href="([^"]+)"[^>]*>/g, (_, path: string) => `<style>${contents(path)}</style>`)
    // At the end of the body the data is there already.
    .replace("</body>", () => `${scripts.map((code) => `<script type="module">${code}</script>`).join("")}</body>`);
}
/** The notices of the bundled libraries as a comment. Addresses lose their scheme: nothing in the page is to be fetched. */
function notices(): string {
  const read = (path: string): string => readFileSync(new URL(`node_modules/${path}`, import.meta.url), "utf8").trim();
  const text = ["Apache License 2.0:", read("echarts/NOTICE"), "BSD 3-Clause License (ZRender):", read("zrender/LICENSE")].join("\n\n");
  return `<!--\nThis page contains parts of these works.\n\n${text.replace(/https?:\/\//g, "").replace(/--/g, "- -")}\n-->`;
}

export function singlePage(): Plugin {
  return {
    name: "nibble-single-page",
    apply: "build",
    enforce: "post",
    generateBundle(_, bundle) {
      const assets = new Map<string, string>();
      for (const [name, file] of Object.entries(bundle)) {
        if (file.type === "chunk") assets.set(name, file.code);
        else if (name.endsWith(".css")) assets.set(name, file.source.toString());
      }
      for (const [name, file] of Object.entries(bundle)) {
        if (file.type === "asset" && name.endsWith(".html")) file.source = inlineAssets(file.source.toString(), assets) + notices() + "\n";
        else delete bundle[name];
      }
    },
  };
}

/** Serves a report with data in it: `npm run dev` has no C++ side. */
export function samplePayload(json: string): Plugin {
  return {
    name: "nibble-sample-payload",
    apply: "serve",
    transformIndexHtml: (html) => html.replace(PAYLOAD_MARKER, () => json.replace(/</g, "\\u003c")),
  };
}
