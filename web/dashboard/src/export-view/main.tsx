/** The start of an exported file: the session's view, read-only, from the data in the file itself. */
import { render } from "preact";
import { exportedSession, readExported } from "../live/exported.js";
import { followTheme } from "../theme.js";
import { SessionView } from "../views/SessionView.js";
import "../style/index.css";

followTheme();
const place = document.getElementById("app");
const json = document.getElementById("agentbench-export")?.textContent ?? "";
if (place) {
  try {
    const model = exportedSession(readExported(json));
    render(<main class="exported"><SessionView model={model} /></main>, place);
  } catch (error) {
    render(<main class="page"><p class="box box-bad">{error instanceof Error ? error.message : String(error)}</p></main>, place);
  }
}
