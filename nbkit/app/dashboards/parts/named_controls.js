// Names the controls of a dashboard for screen readers: ipywidgets 8.1 leaves sliders' handles and read-outs without a
// name, and an input without a label has its tooltip only.
function render({ el }) {
  el.hidden = true;
  let dashboard = null;
  let isWaiting = false;

  function give(part, label) {
    if (label && part.getAttribute("aria-label") !== label) part.setAttribute("aria-label", label);
  }

  function name() {
    isWaiting = false;
    for (const input of dashboard.querySelectorAll("input[title]")) {
      if (input.labels?.length !== 1 || !input.labels[0].textContent.trim()) give(input, input.title);
    }
    for (const slider of dashboard.querySelectorAll(".widget-slider")) {
      const label = slider.querySelector(".widget-label")?.textContent || slider.title;
      for (const part of slider.querySelectorAll("[role=slider], .widget-readout")) give(part, label);
      slider.querySelector(".widget-readout")?.setAttribute("role", "textbox");
    }
  }

  // Figures that are redrawn change the page many times a frame.
  function nameSoon() {
    if (!isWaiting) requestAnimationFrame(name);
    isWaiting = true;
  }

  // It is put into the page after it was rendered, and other widgets come later still.
  const changed = new MutationObserver(nameSoon);
  requestAnimationFrame(() => {
    dashboard = el.closest(".nbkit");
    if (dashboard === null) return;
    name();
    changed.observe(dashboard, { childList: true, subtree: true, characterData: true });
  });
  return () => changed.disconnect();
}

export default { render };
