// Bundles src/ into one script, beside this file or into the folder that is named, with the licence of what is in it.
import { build } from "esbuild";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const target = process.argv[2] ?? ".";
const licence = await readFile("node_modules/hyparquet/LICENSE", "utf8");
const { version } = JSON.parse(await readFile("node_modules/hyparquet/package.json", "utf8"));
await build({
  entryPoints: ["src/main.ts"],
  outfile: join(target, "explorer.js"),
  bundle: true,
  format: "iife",
  target: "es2022",
  minify: true,
  charset: "ascii",
  legalComments: "none",
});
await writeFile(join(target, "LICENCES.txt"), `explorer.js holds hyparquet ${version}:\n\n${licence}`);
