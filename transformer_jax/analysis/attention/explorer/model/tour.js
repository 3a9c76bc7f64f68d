// A tour in seven steps, in the order of docs/understanding-attention.md. Each step shows something
// in a panel; nothing in it depends on what the model says.

const TOUR = [
  {
    panel: "translate_section",
    title: ["Why a word must look elsewhere", "なぜほかの単語を見る必要があるのか"],
    text: [
      "Languages put their words in different orders. To write its next word, the model has to find the place in the sentence that matters now. Watch: each piece it writes draws lines to the pieces it looked at.",
      "語順は言語によって違います。次の語を書くには、いま重要な場所を文の中から見つけなければなりません。書かれた断片から、見た断片へ線が引かれます。",
    ],
    show: () => askFor(byId("ask_text").value, { prefix: [] }),
  },
  {
    panel: "lines_title",
    title: ["Important means: a large share", "重要とは、割合が大きいこと"],
    text: [
      "The model does not pick one word: it gives each a share, and the shares add up to 1. Importance is not a property of a word: every word that looks gives its shares anew. Choose another word and see how the lines move.",
      "モデルは1語を選ぶのではなく、すべての語に割合を配り、合計は1になります。重要度は語の性質ではなく、見る語ごとに配り直されます。別の語を選んで、線が動くのを見てください。",
    ],
    show: () => choose({ attention: "cross", query: 0, held: "query" }),
  },
  {
    panel: "steps_title",
    title: ["Where the shares come from", "割合はどこから来るのか"],
    text: [
      "The word that looks sends out a query q, a list of numbers; each word it can look at holds up a key k. Multiply them number by number and add up: q · k. Divide by √d_k, and let the softmax make shares of the numbers. Switch the division off: larger numbers, sharper shares.",
      "見る語は数の並びクエリ q を出し、見られる語はキー k を掲げます。1つずつ掛けて足したのが q · k です。√d_k で割り、ソフトマックスで割合にします。割り算をオフにすると、数が大きくなり、割合は鋭くなります。",
    ],
    show: () => {},
  },
  {
    panel: "value_sum",
    title: ["What is handed over", "何が渡されるのか"],
    text: [
      "The share says how much; the value v, a third list of numbers, says what. The head hands on the average of all values, weighted by their shares. It is the row of numbers here.",
      "割合は「どれだけ」を、3つ目の数の並びバリュー v は「何を」を表します。ヘッドが渡すのは、割合で重みをつけたバリューの平均、ここに並んだ数です。",
    ],
    show: () => {},
  },
  {
    panel: "controls",
    title: ["Three places to look", "見る場所は3つ"],
    text: [
      "The encoder looks from sentence to sentence. The decoder looks only back at what it has written. Cross attention, the one so far, looks from the translation to the sentence. Now you see the decoder: the upper right of its map is empty, as nobody can look at what is not written yet.",
      "エンコーダは文から文を見ます。デコーダは、すでに書いたものだけを振り返ります。ここまで見てきたクロスは、訳文から原文を見ます。いま表示しているのはデコーダです。まだ書かれていないものは見られないので、表の右上は空です。",
    ],
    show: () => choose({ attention: "decoder", held: null }),
  },
  {
    panel: "overview_title",
    title: ["Why several heads", "なぜヘッドがいくつもあるのか"],
    text: [
      "One head gives one answer to “what is important?”. A word has several questions, so each layer has several heads with queries, keys and values of their own. What they find is put side by side and mixed by one more table of numbers. Choose a head to see it large.",
      "1つのヘッドが出す答えは1つです。語にはいくつも問いがあるので、各層には独自のクエリ、キー、バリューを持つヘッドがいくつもあります。それぞれの結果を並べ、もう1つの数の表で混ぜ合わせます。選ぶと大きく表示されます。",
    ],
    show: () => choose({ attention: "cross", held: null }),
  },
  {
    panel: "switches",
    title: ["Is a head that looks hard an important one?", "強く見るヘッドは重要なヘッドなのか"],
    text: [
      "Not always. Try it: switch heads off one by one, and compare what the model writes with and without them. Often nothing changes; now and then a word is lost. Then leave out the division by √d_k.",
      "いつもそうとは限りません。ヘッドを1つずつオフにして、出力を比べてください。変わらないことも、語が抜けることもあります。次に √d_k の割り算もオフにしてみましょう。",
    ],
    show: () => { byId("switches").open = true; },
  },
];
let tourStep = null; // null: no tour

function listenToTour() {
  byId("tour_button").onclick = () => goTo(0);
  byId("tour_back").onclick = () => goTo(tourStep - 1);
  byId("tour_next").onclick = () => tourStep + 1 < TOUR.length ? goTo(tourStep + 1) : closeTour();
  byId("tour_close").onclick = closeTour;
  byId("tour").onkeydown = (event) => { if (event.key === "Escape") closeTour(); };
}
function goTo(step) {
  tourStep = step;
  TOUR[step].show();
  showTour();
  pointAt(byId(TOUR[step].panel));
  byId("tour_next").focus({ preventScroll: true });
}
function closeTour() {
  tourStep = null;
  showTour();
  pointAt(null);
  byId("tour_button").focus();
}
function showTour() {
  byId("tour").hidden = tourStep === null;
  if (tourStep === null) return;
  const { title, text } = TOUR[tourStep];
  byId("tour_title").textContent = `${tourStep + 1} / ${TOUR.length}　${say(...title)}`;
  byId("tour_text").replaceChildren(element("p", say(...text)));
  byId("tour_back").disabled = tourStep === 0;
  const isLast = tourStep + 1 === TOUR.length;
  byId("tour_next").replaceChildren(isLast ? say("Done", "終わる") : say("Next", "次へ"));
}
// Scrolls to a panel and frames it.
function pointAt(panel) {
  document.querySelectorAll(".pointed").forEach((node) => node.classList.remove("pointed"));
  if (!panel) return;
  (panel.closest("section") ?? panel).classList.add("pointed");
  panel.scrollIntoView({ block: "start", behavior: isStill() ? "auto" : "smooth" });
}
