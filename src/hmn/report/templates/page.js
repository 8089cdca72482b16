(function () {
  const runs = JSON.parse(document.getElementById("data").textContent).runs;
  const whole = (value) => Math.round(value).toLocaleString("en");

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // Text of a shell command: names that need it stand in single quotes.
  function quoted(text) {
    return /^[\w@%+=:,./-]+$/.test(text) ? text : "'" + text.replace(/'/g, "'\"'\"'") + "'";
  }

  function gallery(run, root) {
    const size = run.side * run.scale;
    const control = (name) => root.querySelector("[data-" + name + "]");
    const [rate, beta, sort, only, view] = ["rate", "beta", "sort", "class", "view"].map(control);
    const tiles = [];
    let current = null;
    root.style.setProperty("--tile", size + "px");

    // A rule a class: as a style of every tile the picture would be read a hundred times.
    const rules = make("style");
    rules.textContent = run.classes.map((group, label) => "#" + root.id + " .p" + label +
      " { background-image: url(" + group.url + ") }").join("\n");
    document.head.append(rules);

    run.classes.forEach((group, label) => {
      group.place = new Map(group.order.map((image, rank) => [image, rank]));
      group.section = make("section", "class");
      const heading = make("h4", "", group.name);
      group.count = make("span", "count");
      heading.append(" ", group.count);
      group.box = make("div", "tiles");
      group.tiles = group.shown.map((image, place) => {
        const tile = make("button", "tile p" + label);
        tile.type = "button";
        tile.tabIndex = -1;
        tile.dataset.image = image;
        tile.dataset.label = label;
        tile.style.backgroundSize = group.columns * size + "px " + group.rows * size + "px";
        tile.style.backgroundPosition =
          -(place % group.columns) * size + "px " + -Math.floor(place / group.columns) * size + "px";
        tile.group = group;
        tile.image = image;
        return tile;
      });
      group.box.append(...group.tiles);
      tiles.push(...group.tiles);
      group.section.append(heading, group.box);
      control("gallery").append(group.section);
      only.append(new Option(group.name, String(label)));
    });

    function words(tile) {
      const group = tile.group;
      const aum = group.aum ? ", AUM " + group.aum[tile.image] + ", rank " + (group.place.get(tile.image) + 1) +
        " of " + group.order.length : "";
      return group.name + ", image " + tile.image + aum + ": " + tile.fate;
    }

    function update() {
      // Whole per cents over 100 are the floats that 0.29 or 0.3 are in Python.
      const share = Number(rate.value) / 100, hardShare = Number(beta.value) / 100;
      let kept = 0, all = 0;
      for (const group of run.classes) {
        const parts = pruned(group.order, share, hardShare);
        const hard = new Set(parts.hard), easy = new Set(parts.easy);
        for (const tile of group.tiles) {
          tile.fate = hard.has(tile.image) ? "goes, hard" : easy.has(tile.image) ? "goes, easy" : "stays";
          tile.classList.toggle("hard", hard.has(tile.image));
          tile.classList.toggle("easy", easy.has(tile.image));
          tile.setAttribute("aria-label", words(tile));
        }
        group.count.textContent = parts.kept.length + " of " + group.order.length + " stay" +
          (group.shown.length < group.order.length ? ", " + group.shown.length + " shown" : "");
        kept += parts.kept.length;
        all += group.order.length;
      }
      const floats = run.floats - (all - kept) * run.perImage;
      const over = floats - run.budget;
      control("rate-out").textContent = rate.value + " %";
      control("beta-out").textContent = (Number(beta.value) / 100).toFixed(2);
      control("total").textContent = whole(kept) + " of " + whole(all) + " images stay: " + whole(floats) + " floats, " +
        (over > 0 ? whole(over) + " over" : whole(-over) + " below") + " the budget of " + whole(run.budget) + ".";
      control("command").textContent = "hmn prune " + quoted(run.folder) + " --rate " + Number(rate.value) / 100 +
        " --beta " + Number(beta.value) / 100 + " --out " + quoted(run.folder + "-pruned");
      arrange();
    }

    function arrange() {
      for (const group of run.classes) {
        group.section.hidden = only.value !== "" && run.classes[Number(only.value)] !== group;
        const key = (tile) => (sort.value === "storage" ? tile.image : group.place.get(tile.image));
        const turn = sort.value === "highest" ? -1 : 1;
        group.box.append(...group.tiles.slice().sort((a, b) => turn * (key(a) - key(b))));
        for (const tile of group.tiles) {
          tile.hidden = (view.value === "stay" && tile.fate !== "stays") || (view.value === "go" && tile.fate === "stays");
        }
      }
      if (!current || current.offsetParent === null) choose(visible()[0] || null, false);
      else tell();
    }

    function visible() {
      return [...control("gallery").querySelectorAll(".class:not([hidden]) .tile:not([hidden])")];
    }

    function choose(tile, focus) {
      if (current) current.tabIndex = -1;
      current = tile;
      if (current) {
        current.tabIndex = 0;
        if (focus) current.focus();
      }
      tell();
    }

    function tell() {
      const large = control("large");
      large.hidden = !current;
      control("told").textContent = current ? words(current) : "No image is left to show.";
      if (!current) return;
      const by = Math.max(1, Math.round(96 / size));
      large.style.width = large.style.height = by * size + "px";
      large.className = "large p" + current.dataset.label;
      large.style.backgroundSize = current.group.columns * size * by + "px " + current.group.rows * size * by + "px";
      large.style.backgroundPosition = current.style.backgroundPosition.replace(/-?[\d.]+px/g, (px) => parseFloat(px) * by + "px");
    }

    function move(key) {
      const list = visible(), at = list.indexOf(current);
      if (key === "ArrowRight") return list[Math.min(at + 1, list.length - 1)];
      if (key === "ArrowLeft") return list[Math.max(at - 1, 0)];
      if (key === "Home") return list[0];
      if (key === "End") return list[list.length - 1];
      const here = current.getBoundingClientRect(), down = key === "ArrowDown" ? 1 : -1;
      let best = null, least = Infinity;
      for (const tile of list) {
        const there = tile.getBoundingClientRect(), rows = (there.top - here.top) * down;
        const far = rows * 1000 + Math.abs(there.left - here.left);
        if (rows > 1 && far < least) [best, least] = [tile, far];
      }
      return best || current;
    }

    control("gallery").addEventListener("keydown", (event) => {
      const keys = ["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End"];
      if (!keys.includes(event.key) || !current || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      choose(move(event.key), true);
    });
    control("gallery").addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) choose(tile, true);
    });
    for (const element of [rate, beta]) element.addEventListener("input", update);
    for (const element of [sort, only, view]) element.addEventListener("change", arrange);
    rate.disabled = beta.disabled = !run.profiled || !run.prunable;
    sort.disabled = !run.profiled;
    update();
  }

  runs.forEach((run, position) => gallery(run, document.getElementById("run" + position)));
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
