/** Puts the build's script and style into the page itself, and names their hashes in the page's own policy. */
import { createHash } from "node:crypto";
import type { Plugin } from "vite";

/** The text that the server replaces by a session. */
const PLACE = "/*AGENTBENCH-EXPORT*/";

function hashOf(text: string): string {
  return `'sha256-${createHash("sha256").update(text, "utf8").digest("base64")}'`;
}

/** Text that cannot end a script element early, and means the same. */
function scriptSafe(code: string): string {
  return code.replaceAll(/<\/(script)/gi, "<\\/$1").replaceAll("<!--", "\\x3C!--");
}

/** The plugin. Fails the build if anything but one script, one style and one place for the data comes out. */
export function oneFile(): Plugin {
  return {
    name: "one-file",
    enforce: "post",
    generateBundle(_options, bundle) {
      const page = bundle["export.html"];
      if (page?.type !== "asset") throw new Error("the build has no export.html");
      let [script, style] = ["", ""];
      for (const [name, part] of Object.entries(bundle)) {
        if (part === page) continue;
        if (part.type === "chunk") script += part.code;
        else if (name.endsWith(".css")) style += String(part.source);
        else throw new Error(`the exported page would need the file ${name}`);
        // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- the bundle is a record by name
        delete bundle[name];
      }
      script = scriptSafe(script);
      const policy = `default-src 'none'; script-src ${hashOf(script)}; style-src ${hashOf(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'`;
      const html = String(page.source)
        .replaceAll(/<script type="module"[^>]*><\/script>/g, "")
        .replaceAll(/<link [^>]*rel="stylesheet"[^>]*>/g, "")
        .replace("<!--policy-->", () => `<meta http-equiv="Content-Security-Policy" content="${policy}">`)
        .replace("<!--style-->", () => `<style>${style}</style>`)
        .replace("<!--script-->", () => `<script type="module">${script}</script>`);
      if (html.split(PLACE).length !== 2) throw new Error("the exported page must have exactly one place for its data");
      page.source = html;
    },
  };
}
