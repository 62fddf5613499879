/** One session of the server: opens it, and shows it. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { account } from "../api/account.js";
import { type Failure, asFailure } from "../api/failure.js";
import type { SessionModel } from "../live/model.js";
import { openSession } from "../live/session.js";
import { FailureBox } from "../parts/Bits.js";
import { t } from "../text/index.js";
import { SessionView } from "./SessionView.js";

function OtherLog({ close }: { close: () => void }) {
  return (
    <div class="box box-warn" role="alert">
      <p>{t("session.other")}</p>
      <button type="button" class="button tiny" onClick={close}>{t("session.other.seen")}</button>
    </div>
  );
}

export function SessionPage({ id }: { id: string }) {
  const who = account.value;
  const [model, setModel] = useState<SessionModel | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [attempt, setAttempt] = useState(0);
  // The log is another one than the one that was shown: said, and not mixed with it.
  const [isOther, setOther] = useState(false);
  const again = useCallback(() => setAttempt((before) => before + 1), []);
  const other = useCallback(() => {
    setOther(true);
    again();
  }, []);

  useEffect(() => {
    if (!who) return undefined;
    let opened: SessionModel | null = null;
    let isGone = false;
    setFailure(null);
    openSession(id, who, other).then((found) => {
      if (isGone) return found.close();
      opened = found;
      setModel(found);
    }, (error: unknown) => {
      if (!isGone) setFailure(asFailure(error));
    });
    return () => {
      isGone = true;
      opened?.close();
      setModel(null);
    };
  }, [id, who, attempt]);
  const note = isOther ? <OtherLog close={() => setOther(false)} /> : null;

  if (failure) return <div class="page">{note}<FailureBox failure={failure} again={again} /><p><a href="#/sessions">{t("session.back")}</a></p></div>;
  return model ? <SessionView key={attempt} model={model} note={note} /> : <p class="page muted">{t("session.loading")}</p>;
}
