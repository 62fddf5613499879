//! The floors of `crates/server`: a file uses only what is on its own floor or below, no two files that are not neighbours
//! use each other in a circle, and a few counts that may only fall.
//!
//! What a file uses is read from its `use` lines and from the paths that begin with `crate`, `super` or `self`; its unit tests
//! are left out. A name that a module passes on (`pub(crate) use`) leads to the file where it is defined.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::{root, tidy};

const SOURCES: &str = "crates/server/src/";

/// From the ground up. A name is a file or a folder.
const FLOORS: [&[&str]; 9] = [
    &[
        "alerts",
        "cgroup",
        "clock",
        "config",
        "control",
        "figures",
        "inspection",
        "limits",
        "memory",
        "names",
        "networks",
        "outgoing",
        "traceparent",
        "query",
        "revocation",
        "rules",
        "sabotage",
        "uploads",
    ],
    &["letters", "session", "intake"],
    &["delivery", "ops", "trace"],
    &["gate", "opening", "owner", "storage"],
    &["shared", "overview", "worker", "housekeeping", "simulation"],
    &["transport", "echo"],
    &["dispatch"],
    &["http"],
    &["lib"],
];

/// Files that may use each other in a circle.
const CIRCLE: usize = 2;
/// Lines of methods of `Worker` and of functions that take one.
const WORKER_LINES: usize = 1_533;
/// Fields of one type, those of bags inside it counted: a bag is a type of the crate without methods.
const FIELDS: usize = 15;
/// Tables (settings, figures, JSON) are as long as what they list.
const TABLES: [&str; 3] = ["Config", "Metrics", "Readings"];

/// Checks the floors and prints the counts.
pub(crate) fn check(broken: &mut Vec<String>) {
    let mut files = BTreeMap::new();
    for path in tidy::sources(&["rs"]).iter().filter(|path| path.starts_with(SOURCES)) {
        // A file that was deleted and not committed yet is still listed.
        if let Ok(text) = fs::read_to_string(root().join(path)) {
            files.insert(module_of(&path[SOURCES.len()..]), without_tests(&text));
        }
    }
    let uses = uses_of(&files);
    broken.extend(upward(&uses));
    let circle = circles(&uses).into_iter().max_by_key(BTreeSet::len).unwrap_or_default();
    if circle.len() > CIRCLE {
        broken.push(format!("{} files of the server use each other in a circle: {circle:?}", circle.len()));
    }
    let lines: usize = files.iter().map(|(module, text)| worker_lines(module, text, broken)).sum();
    if lines > WORKER_LINES {
        broken.push(format!("{lines} lines have the whole worker in their hands, more than {WORKER_LINES}"));
    }
    let timed = files.iter().filter(|(module, text)| *module != "clock" && reads_time(text));
    broken.extend(timed.map(|(module, _)| format!("{module} reads the time; clock.rs is for that")));
    let wide = wide_types(&files);
    let line = |(name, count)| format!("{name} has {count} fields, those of bags counted; at most {FIELDS}");
    broken.extend(wide.into_iter().map(line));
    broken.extend(files.iter().flat_map(|(module, text)| impure_words(module, text)));
    println!(
        "floors: {} files on {} floors, largest circle {}, {lines} lines with the whole worker, no type of more than {FIELDS} fields",
        files.len(),
        FLOORS.len(),
        circle.len(),
    );
}

/// `worker/mod.rs` is `worker`, `lib.rs` is `lib`.
fn module_of(path: &str) -> String {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    stem.strip_suffix("/mod").unwrap_or(stem).to_owned()
}

/// The code without unit tests and comments.
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or("");
    let line = |line: &str| line.split("//").next().unwrap_or("").to_owned();
    code.lines().map(line).collect::<Vec<_>>().join("\n")
}

type Files = BTreeMap<String, String>;
type Uses = BTreeMap<String, BTreeSet<String>>;

fn floor_of(module: &str) -> Option<usize> {
    let first = module.split('/').next().unwrap_or(module);
    FLOORS.iter().position(|names| names.contains(&first))
}

fn upward(uses: &Uses) -> Vec<String> {
    let mut broken = Vec::new();
    for (module, used) in uses {
        let Some(own) = floor_of(module) else {
            broken.push(format!("{SOURCES}{module} stands on no floor; xtask/src/floors.rs lists them"));
            continue;
        };
        let above = used.iter().filter(|used| floor_of(used).is_some_and(|floor| floor > own));
        broken.extend(above.map(|used| format!("{SOURCES}{module} uses {used}, which is on a higher floor")));
    }
    broken
}

/// The modules that each module uses.
fn uses_of(files: &Files) -> Uses {
    let passed_on: BTreeMap<(String, String), Vec<String>> = files
        .iter()
        .flat_map(|(module, text)| {
            statements(text).into_iter().filter(|(is_public, _)| *is_public).flat_map(move |(_, tree)| {
                expand(&tree).into_iter().filter_map(move |path| {
                    let absolute = absolute(files, module, &path)?;
                    let name = absolute.last()?.clone();
                    Some(((module.clone(), name), absolute))
                })
            })
        })
        .collect();
    let used_by = |module: &String, text: &String| {
        let of_statements = statements(text).into_iter().flat_map(|(_, tree)| expand(&tree));
        let paths = of_statements.chain(inline_paths(text));
        let absolute = paths.filter_map(|path| absolute(files, module, &path));
        let mut used: BTreeSet<String> =
            absolute.filter_map(|path| resolve(files, &passed_on, &path, 0)).collect();
        used.remove(module);
        used
    };
    files.iter().map(|(module, text)| (module.clone(), used_by(module, text))).collect()
}

/// The trees of `use` statements, and whether they pass names on.
fn statements(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let line_start = rest[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = rest[line_start..at].trim();
        let after = &rest[at + 4..];
        let end = after.find(';').unwrap_or(after.len());
        if before.is_empty() || before.starts_with("pub") {
            found.push((!before.is_empty(), after[..end].split_whitespace().collect()));
        }
        rest = &after[end..];
    }
    found
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let Some(open) = tree.find('{') else {
        return vec![tree.split(" as ").next().unwrap_or(tree).to_owned()];
    };
    let (prefix, inner) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())]);
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.flat_map(expand).map(|part| format!("{prefix}{part}")).collect()
}

/// Paths in the code itself that begin with `crate`, `super` or `self`.
fn inline_paths(text: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | ':');
    let words = text.split(|letter: char| !is_part(letter));
    let begins = |word: &&str| ["crate::", "super::", "self::"].iter().any(|start| word.starts_with(start));
    words.filter(begins).map(str::to_owned).collect()
}

/// The path's parts from the crate's root on; nothing for what is not of this crate.
fn absolute(files: &Files, module: &str, path: &str) -> Option<Vec<String>> {
    let mut parts: Vec<String> =
        path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let mut base: Vec<String> = match module {
        "lib" => Vec::new(),
        module => module.split('/').map(str::to_owned).collect(),
    };
    match parts.first()?.as_str() {
        "crate" => return Some(parts.split_off(1)).filter(|rest| !rest.is_empty()),
        "self" => {
            base.extend(parts.split_off(1));
            return Some(base);
        }
        "super" => {
            while parts.first().is_some_and(|part| part == "super") {
                base.pop();
                parts.remove(0);
            }
            base.extend(parts);
            return Some(base);
        }
        _ => {}
    }
    base.push(parts[0].clone());
    let child = base.join("/");
    base.extend(parts.split_off(1));
    files.contains_key(&child).then_some(base)
}

/// The module that a path ends in, behind names that are passed on.
fn resolve(
    files: &Files,
    passed_on: &BTreeMap<(String, String), Vec<String>>,
    path: &[String],
    depth: usize,
) -> Option<String> {
    for length in (0..=path.len()).rev() {
        let module = if length == 0 { "lib".to_owned() } else { path[..length].join("/") };
        if !files.contains_key(&module) {
            continue;
        }
        let further = path.get(length).and_then(|name| passed_on.get(&(module.clone(), name.clone())));
        return match further {
            Some(further) if depth < 5 => {
                let whole: Vec<String> = further.iter().chain(&path[length + 1..]).cloned().collect();
                resolve(files, passed_on, &whole, depth + 1)
            }
            _ => Some(module),
        };
    }
    None
}

/// Groups of modules that reach each other.
fn circles(uses: &Uses) -> Vec<BTreeSet<String>> {
    let reachable = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for used in uses.get(module).into_iter().flatten() {
                if seen.insert(used.clone()) {
                    next.push(used);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<String>> =
        uses.keys().map(|module| (module, reachable(module))).collect();
    let circle = |module: &String| -> BTreeSet<String> {
        let back =
            reach[module].iter().filter(|other| reach.get(other).is_some_and(|it| it.contains(module)));
        back.cloned().collect()
    };
    uses.keys().map(circle).filter(|circle| circle.len() > 1).collect()
}

/// Lines of the methods of `Worker` and of functions that take one. Methods outside of `worker/` are broken rules.
fn worker_lines(module: &str, text: &str, broken: &mut Vec<String>) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let (mut count, mut at, mut in_worker) = (0, 0, false);
    while at < lines.len() {
        let line = lines[at];
        if line == "impl Worker {" {
            in_worker = true;
            if !module.starts_with("worker") {
                broken.push(format!("{SOURCES}{module} has methods of Worker; these stand in worker/"));
            }
        } else if line == "}" {
            in_worker = false;
        }
        let indent = line.len() - line.trim_start().len();
        let is_function = begins_function(line.trim_start());
        if !is_function {
            at += 1;
            continue;
        }
        let end = function_end(&lines, at, indent);
        let signature = lines[at..end].iter().take_while(|line| !line.ends_with('{')).chain(&lines[at..=at]);
        let takes_worker = signature.clone().any(|line| line.contains("Worker>") || line.contains("&Worker"));
        if in_worker || takes_worker {
            count += end - at;
        }
        at = end;
    }
    count
}

fn begins_function(line: &str) -> bool {
    let mut words = line.split(' ');
    words.find(|word| !matches!(*word, "pub" | "pub(crate)" | "pub(super)" | "const" | "async")) == Some("fn")
}

/// The line after the function that begins at `at`.
fn function_end(lines: &[&str], at: usize, indent: usize) -> usize {
    if lines[at].ends_with('}') || lines[at].ends_with(';') {
        return at + 1;
    }
    let closing = format!("{}}}", " ".repeat(indent));
    lines[at..].iter().position(|line| *line == closing).map_or(lines.len(), |length| at + length + 1)
}

/// The machine of session owners does nothing by itself: no sockets, files, threads, clock or chance.
fn impure_words(module: &str, text: &str) -> Vec<String> {
    const WORDS: [&str; 9] = [
        "tokio",
        "std::fs",
        "std::net::Tcp",
        "std::thread",
        "spawn",
        "clock::instant",
        "clock::now",
        "getrandom",
        ".await",
    ];
    if module != "owner" && !module.starts_with("owner/") {
        return Vec::new();
    }
    let used = WORDS.iter().filter(|word| text.contains(**word));
    used.map(|word| format!("{SOURCES}{module} uses {word}; owners are a machine without IO")).collect()
}

fn reads_time(text: &str) -> bool {
    ["Instant::now()", "SystemTime::now()", ".elapsed()"].iter().any(|read| text.contains(read))
}

/// Types with more than [`FIELDS`] fields, those of bags counted, but for tables.
fn wide_types(files: &Files) -> Vec<(String, usize)> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut has_methods = BTreeSet::new();
    for text in files.values() {
        let mut rest = text.lines().peekable();
        let mut is_json = false;
        while let Some(line) = rest.next() {
            let is_table = is_json;
            is_json = line.starts_with("#[") && (is_json || line.contains("Serialize"));
            if let Some(name) = line.strip_prefix("impl ").and_then(|line| line.split([' ', '<']).next()) {
                has_methods.insert(name.to_owned());
            }
            let Some((_, head)) = line.split_once("struct ") else { continue };
            let Some(name) = head.split([' ', '<', '(', ';']).next().filter(|_| line.ends_with('{')) else {
                continue;
            };
            let mut types = Vec::new();
            while let Some(field) = rest.next_if(|line| line.trim_start() != "}") {
                let field =
                    field.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
                if let Some((_, kind)) = field.split_once(": ").filter(|_| !field.starts_with("#[")) {
                    types.push(kind.trim_end_matches(',').to_owned());
                }
            }
            if !is_table && !TABLES.contains(&name) {
                fields.insert(name.to_owned(), types);
            }
        }
    }
    let count = |types: &Vec<String>| -> usize {
        let bag =
            |kind: &String| fields.get(kind).filter(|_| !has_methods.contains(kind)).map_or(1, Vec::len);
        types.iter().map(bag).sum()
    };
    let wide = fields.iter().map(|(name, types)| (name.clone(), count(types)));
    wide.filter(|(_, count)| *count > FIELDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(path, text)| (module_of(path), without_tests(text))).collect()
    }

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn uses_lead_to_the_file_where_a_name_is_defined() {
        let files = files(&[
            ("lib.rs", "mod a;\nuse crate::a::inner::Deep;\n"),
            ("a/mod.rs", "mod inner;\npub(crate) use inner::{Deep, Other};\n// use crate::b;\n"),
            ("a/inner.rs", "pub(crate) struct Deep;\n#[cfg(test)]\nmod tests { use crate::b::B; }"),
            ("b.rs", "use crate::{a::{Deep, self}, c};\nfn f() { super::c::g(); std::mem::take(x) }\n"),
            ("c.rs", "use std::rc::Rc;\nfn g() { crate::b::f() }\n"),
        ]);
        let uses = uses_of(&files);
        assert_eq!(names(&uses["lib"]), ["a/inner"]);
        assert_eq!(names(&uses["a"]), ["a/inner"]);
        assert_eq!(names(&uses["a/inner"]), [""; 0]);
        assert_eq!(names(&uses["b"]), ["a", "a/inner", "c"]);
        let circles = circles(&uses);
        assert_eq!(circles.len(), 2);
        assert!(circles.iter().all(|circle| names(circle) == ["b", "c"]));
    }

    #[test]
    fn a_file_that_looks_up_is_named_and_so_is_one_without_a_floor() {
        let files = files(&[
            ("clock.rs", "use crate::http::api::Api;"),
            ("http/api.rs", "use crate::clock;"),
            ("attic.rs", ""),
        ]);
        let broken = upward(&uses_of(&files));
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken.iter().any(|line| line.contains("clock uses http/api")));
        assert!(broken.iter().any(|line| line.contains("attic stands on no floor")));
    }

    #[test]
    fn owners_that_do_something_by_themselves_are_named() {
        let text = without_tests("use tokio::time;\nfn f() { clock::now_ms() } // spawn\n");
        assert_eq!(impure_words("owner/loading", &text).len(), 2);
        assert_eq!(impure_words("worker/mod", &text), [""; 0]);
    }

    #[test]
    fn lines_with_the_worker_and_methods_outside_its_folder_are_counted() {
        let text = "impl Worker {\n    fn a(&self) {\n        b();\n    }\n}\nfn free(worker: &Rc<Worker>) {\n}\nfn other(x: u8) {\n    c();\n}\n";
        let mut broken = Vec::new();
        assert_eq!(worker_lines("worker/mod", text, &mut broken), 5);
        assert!(broken.is_empty());
        assert_eq!(worker_lines("http/mod", text, &mut broken), 5);
        assert_eq!(broken.len(), 1);
    }

    #[test]
    fn fields_of_a_bag_count_and_those_of_a_type_with_methods_do_not() {
        let list = |count: usize, kind: &str| {
            (0..count).fold(String::new(), |text, n| text + &format!("    pub(crate) f{n}: {kind},\n"))
        };
        let bag = format!(
            "struct Bag {{\n{}}}\nstruct Own {{\n{}}}\nimpl Own {{\n}}\n",
            list(9, "u8"),
            list(15, "u8")
        );
        let text = format!("{bag}struct Wide {{\n    a: Bag,\n    b: Own,\n{}}}\n", list(6, "u8"));
        assert_eq!(wide_types(&files(&[("a.rs", &text)])), [("Wide".to_owned(), 16)]);
        let json = format!("#[derive(Serialize)]\nstruct Shown {{\n{}}}\n", list(30, "u8"));
        assert_eq!(wide_types(&files(&[("a.rs", &json)])), []);
    }
}
