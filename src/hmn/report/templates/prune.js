"use strict";
// The rule of hmn.prune for one class: what pruning at both ends removes, hardest and easiest.
// Shares are decimal fractions, of which a product of floats may fall short: hence the 1e-9, as in hmn.pruning.
function pruned(order, rate, beta) {
  const count = order.length;
  const removed = Math.max(0, Math.min(count - 1, Math.floor(rate * count + 1e-9)));
  const hardest = Math.floor(beta * removed + 1e-9);
  return {
    hard: order.slice(0, hardest),
    kept: order.slice(hardest, hardest + count - removed),
    easy: order.slice(hardest + count - removed),
  };
}
