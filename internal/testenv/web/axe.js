// Looks at pages as visitors see them: light and dark, on a phone and on a
// desktop. Prints one line for each problem, and nothing else.
//
//   node axe.js CHROMIUM SCREENSHOTS|- FILE...
//
// With a directory for screenshots, the pages are photographed and not
// examined: FILE is then NAME=FILE.
const puppeteer = require('puppeteer-core');
const { readFileSync } = require('fs');

const [chromium, shots, ...files] = process.argv.slice(2);
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const sizes = [{ width: 320, height: 640 }, { width: 1280, height: 800 }];

async function main() {
  const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
  const browser = await puppeteer.launch({
    executablePath: chromium, headless: true, timeout: 120000, protocolTimeout: 300000,
    args: ['--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--disable-dev-shm-usage'],
  });
  const page = await browser.newPage();
  page.setDefaultTimeout(120000);
  let requests = [];
  page.on('request', (r) => requests.push(r.url()));
  for (const arg of files) {
    const [name, file] = shots === '-' ? [arg, arg] : arg.split('=');
    const colours = [];
    requests = [];
    await page.goto('file://' + file);
    for (const scheme of ['light', 'dark']) {
      for (const size of sizes) {
        // Pictures for the documentation are half as large.
        await page.setViewport({ ...size, deviceScaleFactor: shots === '-' ? 1 : 0.6 });
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
        if (shots !== '-') {
          await page.screenshot({ path: `${shots}/${name}-${scheme}-${size.width}.png` });
          continue;
        }
        const where = `${file} (${scheme}, ${size.width} px)`;
        const seen = await page.evaluate(() => {
          document.querySelectorAll('details').forEach((d) => { d.open = true; });
          return {
            sideways: document.documentElement.scrollWidth > document.documentElement.clientWidth,
            images: [...document.images].every((i) => i.naturalWidth > 0),
            colour: getComputedStyle(document.body).color,
          };
        });
        if (seen.sideways) console.log(`${where}: scrolls sideways`);
        if (!seen.images) console.log(`${where}: an image is missing`);
        colours.push(seen.colour);
        await page.evaluate(axe);
        const result = await page.evaluate((only) => axe.run(document, { runOnly: only, resultTypes: ['violations'] }), rules);
        for (const v of result.violations) {
          console.log(`${where}: ${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).join(' ').slice(0, 300)}`);
        }
      }
    }
    if (shots !== '-') continue;
    const outside = requests.filter((u) => !u.startsWith('data:') && u !== 'file://' + encodeURI(file));
    if (outside.length) console.log(`${file}: loads ${outside.join(', ')}`);
    if (colours[0] === colours[2]) console.log(`${file}: light and dark look the same`);
  }
  await browser.close();
}

main().catch((e) => { console.log(String(e.stack || e)); process.exit(2); });
