/** A window over the page. The browser keeps the focus inside, and Escape closes it. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

export interface DialogProps {
  label: string;
  class?: string;
  close: () => void;
  onKey?: (event: KeyboardEvent) => void;
  children: ComponentChildren;
}

export function Dialog(props: DialogProps) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    box.current?.showModal();
  }, []);
  return (
    <dialog
      ref={box} class={props.class ?? ""} aria-label={props.label} onClose={props.close} {...(props.onKey && { onKeyDown: props.onKey })}
      onClick={(event) => {
        if (event.target === box.current) props.close();
      }}
    >
      {props.children}
    </dialog>
  );
}
