/** The start of the pages. */
import { render } from "preact";
import { begin } from "./api/account.js";
import { startClock } from "./clock.js";
import { stayConnected } from "./live/connection.js";
import { followAddress } from "./routes.js";
import { followTheme } from "./theme.js";
import { App } from "./views/App.js";
import "./style/index.css";

begin();
followTheme();
followAddress();
startClock();
stayConnected();
const place = document.getElementById("app");
if (place) render(<App />, place);
