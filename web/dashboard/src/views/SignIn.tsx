/** Sign in with a token. The server is asked once, so that a token that it does not take is told here and not later. */
import { useState } from "preact/hooks";
import { over, signIn } from "../api/account.js";
import { readClaims } from "../api/claims.js";
import { asFailure, sentence } from "../api/failure.js";
import { Api } from "../api/http.js";
import { t } from "../text/index.js";

async function reasonAgainst(token: string): Promise<string | null> {
  try {
    await new Api(token).sessions({ limit: 1 });
    return null;
  } catch (error) {
    const failure = asFailure(error);
    if (failure.code === "not_authenticated") return t("sign.refused", { why: failure.message });
    // It is somebody, who may not list sessions.
    return failure.code === "forbidden" ? null : sentence(failure);
  }
}

/** Why one has to sign in again. */
function whyAgain(reason: typeof over.value): string {
  if (reason === null) return "";
  return reason === "expired" ? t("sign.expired") : t("sign.refused", { why: reason.why });
}

export function SignIn() {
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const why = problem === "" ? whyAgain(over.value) : problem;

  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const given = token.trim();
    if (readClaims(given) === null) {
      setProblem(t("sign.unreadable"));
      return;
    }
    setBusy(true);
    setProblem("");
    const against = await reasonAgainst(given);
    setBusy(false);
    if (against === null) signIn(given);
    else setProblem(against);
  };

  return (
    <div class="sign-in">
      <form class="card" onSubmit={submit} noValidate>
        <h1>{t("sign.title")}</h1>
        <p class="muted">{t("sign.hint")}</p>
        <pre class="command">agentbench token mint --role admin</pre>
        <label for="token">{t("sign.token")}</label>
        <textarea
          id="token" rows={4} autoComplete="off" spellcheck={false} value={token} aria-describedby="token-problem token-kept"
          aria-invalid={why !== ""} onInput={(event) => setToken(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") void submit(event);
          }}
        />
        <p id="token-problem" class="problem" role="alert">{why}</p>
        <button type="submit" class="button primary" disabled={isBusy}>{isBusy ? t("sign.checking") : t("sign.in")}</button>
        <p id="token-kept" class="muted small">{t("sign.kept")}</p>
      </form>
    </div>
  );
}
