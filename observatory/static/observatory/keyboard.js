// Makes the theme's links without href, such as the one to the filters, work by keyboard.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  for (const link of document.querySelectorAll("a:not([href])")) {
    if (![...link.attributes].some(({ name }) => name.startsWith("x-on:click"))) continue;
    link.tabIndex = 0;
    link.setAttribute("role", "button");
    link.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      link.click();
    });
  }
});
