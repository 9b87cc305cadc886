// Gives pages to html-validate. Prints one line for each problem.
//
//   node validate.js FILE...
const { HtmlValidate, StaticConfigLoader } = require('html-validate');

async function main() {
  const htmlvalidate = new HtmlValidate(new StaticConfigLoader({
    root: true,
    extends: ['html-validate:standard', 'html-validate:a11y'],
  }));
  for (const file of process.argv.slice(2)) {
    const report = await htmlvalidate.validateFile(file);
    for (const r of report.results) {
      for (const m of r.messages) console.log(`${file}:${m.line}:${m.column}: ${m.ruleId}: ${m.message}`);
    }
  }
}

main().catch((e) => { console.log(String(e.stack || e)); process.exit(2); });
