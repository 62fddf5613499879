// In every page: tells the worker of each click.
document.addEventListener(
  "click",
  ({ target, clientX, clientY }) => {
    const element = target instanceof Element ? target : null;
    const click = { x: clientX, y: clientY, tag: element?.tagName.toLowerCase() ?? "", id: element?.id ?? "", url: location.href };
    // Fails only while the extension is being replaced: this page then belongs to the old one.
    chrome.runtime.sendMessage({ click }).catch(() => undefined);
  },
  true,
);
