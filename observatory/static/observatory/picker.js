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
