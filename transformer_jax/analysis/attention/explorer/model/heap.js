// A binary heap: `pop` returns the first item in the order of `compare`, or undefined.
class Heap {
  constructor(compare) { this.compare = compare; this.items = []; }

  push(item) {
    const { items, compare } = this;
    let place = items.push(item) - 1;
    for (let parent; place > 0 && compare(item, items[parent = (place - 1) >> 1]) < 0;) {
      items[place] = items[parent];
      place = parent;
    }
    items[place] = item;
  }

  peek() { return this.items[0]; }

  pop() {
    const { items, compare } = this, first = items[0], last = items.pop();
    if (!items.length) return first;
    let place = 0;
    for (let child; (child = 2 * place + 1) < items.length;) {
      if (child + 1 < items.length && compare(items[child + 1], items[child]) < 0) child++;
      if (compare(last, items[child]) <= 0) break;
      items[place] = items[child];
      place = child;
    }
    items[place] = last;
    return first;
  }
}
