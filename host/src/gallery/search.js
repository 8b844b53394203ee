const field = document.querySelector("input"), cards = [...document.querySelectorAll(".card")];
const count = document.querySelector("#count");
const look = () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const card of cards) {
    const text = card.textContent.toLowerCase();
    card.hidden = !words.every((word) => text.includes(word));
    shown += !card.hidden;
  }
  count.textContent = `${shown} of ${cards.length}`;
};
field.hidden = false;
field.addEventListener("input", look);
look();
