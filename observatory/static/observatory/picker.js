// The list of models below an override's form: a click or Enter puts the model into the form.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const chosen = document.querySelector("#id_model_id");
  const search = document.querySelector("#id_search");
  const list = document.querySelector("#models");
  if (!chosen || !search || !list) return;
  const buttons = () => [...list.querySelectorAll("button:not(:disabled)")];
  const mark = () =>
    list.querySelectorAll("button").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.model === chosen.value.trim()));
    });

  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-model]");
    if (!button) return;
    chosen.value = button.dataset.model;
    chosen.dispatchEvent(new Event("change", { bubbles: true }));
    mark();
  });
  list.addEventListener("htmx:afterSwap", mark);
  chosen.addEventListener("input", mark);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault(); // it would save the form
    if (event.key !== "ArrowDown" && event.key !== "Enter") return;
    event.preventDefault();
    buttons()[0]?.focus();
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = buttons();
    (all[all.indexOf(document.activeElement) + step] ?? search).focus();
  });
});

// The trial's result arrives in a frame, which grows to its height. Only a sample has a message.
document.addEventListener("DOMContentLoaded", () => {
  const frame = document.querySelector("#trial");
  const status = document.querySelector("#trial-status");
  const message = document.querySelector("#sample-message");
  const button = document.querySelector("button[name=try]");
  if (!frame || !status || !message || !button) return;
  const fit = () => {
    frame.style.height = "auto"; // else it would never become lower
    frame.style.height = `${frame.contentDocument.documentElement.scrollHeight + 2}px`;
  };
  const isBlank = () => {
    try {
      return frame.contentWindow.location.href === "about:blank";
    } catch {
      return null; // an error page, or the sign-in page: they may not be shown in a frame
    }
  };

  button.addEventListener("click", () => {
    status.textContent = "Waiting for the models…";
    frame.hidden = true;
    setTimeout(() => { button.disabled = true; }); // after the form was sent with its value
  });
  frame.addEventListener("load", () => {
    const blank = isBlank();
    if (blank) return;
    button.disabled = false;
    frame.hidden = blank === null;
    status.textContent = blank === null ? "The test failed. Reload the page and try again." : "The result is below.";
    if (blank === false) fit();
  });
  window.addEventListener("resize", () => !frame.hidden && fit());
  document.querySelectorAll("#id_agent_name, #id_model_id").forEach((field) => {
    field.addEventListener("change", () => {
      frame.hidden = true; // it is about another agent or model
      if (!button.disabled) status.textContent = "";
    });
  });
  document.addEventListener("change", (event) => {
    if (event.target.id === "id_given") message.hidden = event.target.value.startsWith("recorded:");
  });
  document.addEventListener("htmx:afterSettle", () => {
    const given = document.querySelector("#id_given");
    message.hidden = given !== null && given.value.startsWith("recorded:");
  });
});
