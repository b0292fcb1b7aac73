// Names for screen readers that the theme and docutils leave out.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("nav li > details > summary")) {
    const link = summary.closest("li").querySelector(":scope > a");
    summary.setAttribute("aria-label", `Pages below ${link.textContent.trim()}`);
  }
  for (const button of document.querySelectorAll(".search-button-field"))
    button.ariaLabel = button.textContent.replace(/\s+/g, " ").trim();
  for (const list of document.querySelectorAll(".citation-list"))
    list.removeAttribute("role"); // its children are no items of a list
});
