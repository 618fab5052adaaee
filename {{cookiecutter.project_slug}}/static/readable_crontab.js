// Shows in words what the chosen crontab of a periodic task means.
document.addEventListener("DOMContentLoaded", () => {
  const translations = JSON.parse(document.getElementById("readable-crontabs").textContent);
  const select = document.getElementById("id_crontab");
  const output = document.querySelector(".field-crontab_translation .readonly");
  if (!select || !output) {
    return;
  }
  const show = () => {
    output.textContent = translations[select.value] ?? "-";
  };
  // Django's own pop-ups for a new crontab tell of it by jQuery alone.
  django.jQuery(select).on("change", show);
  show();
});
