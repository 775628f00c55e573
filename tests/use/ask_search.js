// The search of the built site, by the script that the browser runs: node ask_search.js SITE < questions > pages
// Questions are a JSON list of strings; the answer is {question: [page, best first]}.
const fs = require("fs"), path = require("path"), vm = require("vm");

const [, , site] = process.argv;
const workers = path.join(site, "assets", "javascripts", "workers");
const script = fs.readdirSync(workers).find((name) => /^search\..*\.js$/.test(name));
let receive, answered;
const browser = { console, addEventListener: (_, listener) => (receive = listener), postMessage: (found) => answered(found) };
browser.self = browser;
vm.runInNewContext(fs.readFileSync(path.join(workers, script), "utf8"), browser);
const ask = (type, data) => new Promise((resolve) => { answered = resolve; receive({ data: { type, data } }); });

(async () => {
  const index = JSON.parse(fs.readFileSync(path.join(site, "search", "search_index.json"), "utf8"));
  await ask(0, { ...index, options: { suggest: false } }); // SETUP
  const pages = {};
  for (const question of JSON.parse(fs.readFileSync(0, "utf8"))) {
    const { data } = await ask(2, question); // QUERY
    pages[question] = data.items.map((sections) => sections[0].location); // the best section of each page
  }
  process.stdout.write(JSON.stringify(pages));
})();
