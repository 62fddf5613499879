/** The keys, in a list. */
import { Dialog } from "../parts/Dialog.js";
import { type TextKey, t } from "../text/index.js";

const KEYS: [string[], TextKey][] = [
  [["j", "k", "↓", "↑"], "keys.move"],
  [["PageUp", "PageDown"], "keys.page"],
  [["Home", "End"], "keys.ends"],
  [["/"], "keys.search"],
  [["Space"], "keys.space"],
  [["←", "→"], "keys.step"],
  [["n"], "keys.error"],
  [["e"], "keys.evidence"],
  [["Esc"], "keys.escape"],
  [["?"], "keys.help"],
];

export function KeysHelp({ close }: { close: () => void }) {
  return (
    <Dialog label={t("keys.title")} close={close}>
      <h2>{t("keys.title")}</h2>
      <dl class="keys">
        {KEYS.map(([keys, text]) => <div key={text}><dt>{keys.map((key) => <kbd key={key}>{key}</kbd>)}</dt><dd>{t(text)}</dd></div>)}
      </dl>
      <button type="button" class="button" onClick={close}>{t("evidence.close")}</button>
    </Dialog>
  );
}
