/** The frame around every view: where one is, who one is, how the connection is. */
import { useEffect, useRef } from "preact/hooks";
import { addressOf } from "../address.js";
import { account, signOut } from "../api/account.js";
import { link } from "../live/connection.js";
import { Mark } from "../parts/Badge.js";
import { route } from "../routes.js";
import { LANGUAGES, type Language, language, setLanguage, t } from "../text/index.js";
import { THEMES, type Theme, setTheme, theme } from "../theme.js";
import { Now } from "./Now.js";
import { SessionPage } from "./SessionPage.js";
import { Sessions } from "./Sessions.js";
import { SignIn } from "./SignIn.js";

function LinkState() {
  const state = link.value;
  switch (state.is) {
    case "connected":
      return <span class="link tone-good"><Mark shape="check" />{t("link.connected")}</span>;
    case "connecting":
      return <span class="link tone-muted"><Mark shape="ring" />{t("link.connecting")}</span>;
    case "lost":
      return <span class="link tone-warn"><Mark shape="alert" />{t("link.lost")}</span>;
    case "ended":
      return <span class="link tone-bad"><Mark shape="cross" />{t("link.ended", { why: state.why })}</span>;
  }
}

function Choices() {
  return (
    <>
      <select class="quiet" aria-label={t("language.label")} value={language.value} onChange={(event) => setLanguage(event.currentTarget.value as Language)}>
        {Object.entries(LANGUAGES).map(([name, shown]) => <option key={name} value={name}>{shown}</option>)}
      </select>
      <select class="quiet" aria-label={t("theme.label")} value={theme.value} onChange={(event) => setTheme(event.currentTarget.value as Theme)}>
        {THEMES.map((name) => <option key={name} value={name}>{t(`theme.${name}`)}</option>)}
      </select>
    </>
  );
}

function Header() {
  const who = account.value?.claims;
  const { view } = route.value;
  return (
    <header class="top">
      <a class="brand" href="#/"><img src={addressOf("favicon.svg")} alt="" width="22" height="22" />{t("app.name")}</a>
      {who && (
        <nav aria-label={t("nav.main")}>
          <a href="#/" aria-current={view === "now" ? "page" : undefined}>{t("nav.now")}</a>
          <a href="#/sessions" aria-current={view === "sessions" || view === "session" ? "page" : undefined}>{t("nav.sessions")}</a>
        </nav>
      )}
      <div class="top-end">
        {who && <span role="status"><LinkState /></span>}
        <Choices />
        {who && <span class="who" title={who.userId}><bdi>{who.username}</bdi> <span class="muted">{who.role}</span></span>}
        {who && <button type="button" class="button quiet" onClick={signOut}>{t("sign.out")}</button>}
      </div>
    </header>
  );
}

function View() {
  const place = route.value;
  switch (place.view) {
    case "now":
      return <Now />;
    case "sessions":
      return <Sessions />;
    case "session":
      return <SessionPage key={place.id} id={place.id} />;
    case "unknown":
      return <div class="page"><h1>{t("notFound.title")}</h1><p><a href="#/sessions">{t("notFound.back")}</a></p></div>;
  }
}

export function App() {
  const content = useRef<HTMLElement>(null);
  const isIn = account.value !== null;
  const { view } = route.value;
  useEffect(() => {
    document.documentElement.lang = language.value;
  }, [language.value]);
  useEffect(() => {
    document.title = isIn && (view === "now" || view === "sessions") ? `${t(`nav.${view}`)} · ${t("app.name")}` : t("app.name");
  }, [isIn, view, language.value]);
  return (
    <>
      <button type="button" class="skip button" onClick={() => content.current?.focus()}>{t("app.skip")}</button>
      <Header />
      <main ref={content} tabIndex={-1}>{isIn ? <View key={account.value?.token} /> : <SignIn />}</main>
    </>
  );
}
