// Short names for properties that only the SDK itself uses, as a minifier would give them if it knew which these are: the members of all
// classes and interfaces in the files below. They are renamed by TypeScript's language service, so by what they are and not by how
// they are spelled, and each type has the alphabet for itself.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Files whose classes and interfaces nobody outside sees. An object of one must not be made by spreading one of another type. */
const INTERNAL = [
  "auto.ts", "driver.ts", "intake.ts", "machine/commands.ts", "machine/connect.ts", "machine/follow.ts", "machine/inbound.ts",
  "machine/outbox.ts", "machine/participation.ts", "machine/replays.ts", "machine/requests.ts", "machine/state.ts", "machine/transmit.ts",
].map((file) => join(root, "src", file));
/** Types of other files that are internal as well. */
const INTERNAL_TYPES = ["Host"];

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ$_";

/** One letter, then two and so on. */
function shortName(index) {
  const rest = Math.floor(index / LETTERS.length);
  return (rest > 0 ? shortName(rest - 1) : "") + LETTERS[index % LETTERS.length];
}

function project() {
  const { config } = ts.readConfigFile(join(root, "tsconfig.build.json"), ts.sys.readFile);
  return ts.parseJsonConfigFileContent(config, ts.sys, root);
}

function languageService() {
  const { options, fileNames } = project();
  const service = ts.createLanguageService({
    getScriptFileNames: () => fileNames,
    getScriptVersion: () => "1",
    getScriptSnapshot: (file) => (ts.sys.fileExists(file) ? ts.ScriptSnapshot.fromString(readFileSync(file, "utf8")) : undefined),
    getCurrentDirectory: () => root,
    getCompilationSettings: () => options,
    getDefaultLibFileName: ts.getDefaultLibFilePath,
    fileExists: ts.sys.fileExists,
    readFile: ts.sys.readFile,
    readDirectory: ts.sys.readDirectory,
  });
  return { service, fileNames };
}

/** The members of all internal types, each with the places where it is named. */
function* membersOf(service, fileNames) {
  for (const file of fileNames) {
    for (const type of service.getProgram().getSourceFile(file).statements) {
      if (!ts.isClassDeclaration(type) && !ts.isInterfaceDeclaration(type)) continue;
      if (!INTERNAL.includes(file) && !INTERNAL_TYPES.includes(type.name.text)) continue;
      for (const { name } of type.members) {
        if (!name || !ts.isIdentifier(name)) continue;
        const preferences = { providePrefixAndSuffixTextForRename: true };
        // One that extends another shares the alphabet with it.
        const [base] = (type.heritageClauses ?? []).filter(({ token }) => token === ts.SyntaxKind.ExtendsKeyword).flatMap(({ types }) => types);
        yield { alphabet: base?.expression.text ?? type.name.text, place: `${file}:${name.getStart()}`, locations: service.findRenameLocations(file, name.getStart(), false, false, preferences) };
      }
    }
  }
}

const placeOf = ({ fileName, textSpan }) => `${fileName}:${textSpan.start}`;

/** The sources with short names, by file. */
export function shortened() {
  const { service, fileNames } = languageService();
  const members = [...membersOf(service, fileNames)];
  const memberAt = new Map(members.map((member) => [member.place, member]));
  const taken = new Map(members.map(({ alphabet }) => [alphabet, new Set()]));
  const edits = new Map(fileNames.map((file) => [file, []]));
  const done = new Set();
  // The more often one is used, the shorter.
  for (const { place, locations } of members.sort((one, other) => other.locations.length - one.locations.length)) {
    if (done.has(place)) continue;
    // A member that several types share, as an interface and the class that implements it do, has one name.
    const types = locations.flatMap((location) => memberAt.get(placeOf(location)) ?? []).map(({ alphabet }) => taken.get(alphabet));
    let at = 0;
    while (types.some((names) => names.has(shortName(at)))) at += 1;
    for (const names of types) names.add(shortName(at));
    for (const location of locations) {
      done.add(placeOf(location));
      const { prefixText = "", suffixText = "", textSpan } = location;
      edits.get(location.fileName).push({ ...textSpan, text: prefixText + shortName(at) + suffixText });
    }
  }
  const sources = new Map([...edits].map(([file, list]) => {
    let text = readFileSync(file, "utf8");
    for (const { start, length, text: replacement } of list.sort((one, other) => other.start - one.start)) {
      text = text.slice(0, start) + replacement + text.slice(start + length);
    }
    return [file, text];
  }));
  check(sources);
  return sources;
}

/** What the language service could not follow (an object made for a type parameter, say) has the wrong type now. */
function check(sources) {
  const { options, fileNames } = project();
  const host = ts.createCompilerHost(options);
  const { readFile } = host;
  host.getCurrentDirectory = () => root;
  host.readFile = (file) => sources.get(file) ?? readFile(file);
  const program = ts.createProgram(fileNames, { ...options, noEmit: true, emitDeclarationOnly: false, declaration: false }, host);
  const problems = ts.getPreEmitDiagnostics(program);
  if (problems.length > 0) throw new Error(`short names do not fit:\n${ts.formatDiagnostics(problems, host)}`);
}

/** Lets esbuild read the sources with short names. */
export function shortNames() {
  const sources = shortened();
  return {
    name: "short-names",
    setup: ({ onLoad }) => onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => ({ contents: sources.get(path), loader: "ts" })),
  };
}
