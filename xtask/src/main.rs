//! The only task runner. Each task prints the commands it runs, stops at the first failure, and can be run alone.

mod codegen;
mod coverage;
mod dashboard;
mod deny;
mod floors;
mod instructions;
mod openapi;
mod peers;
mod rivals;
mod serve_flags;
mod test;
mod tidy;
mod titles;
mod tools;
mod web;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

const HELP: &str = "\
cargo xtask TASK

  setup      install what builds and tests need (Debian packages, as root), or report what is missing
  test       setup, then every test; `cargo xtask test NAME` runs those whose names contain NAME; -p PACKAGE before it runs
               only those of one package, which is fastest after a change in it
  lint       formatting and clippy, with warnings as errors
  tidy       house rules: pure crates stay pure, no file of the server looks up from its floor, attacks have tests, titles of commits
               are short, generated files are fresh
  deny       licences, sources and, where they can be reached, advisories of dependencies (cargo-deny)
  codegen    write the generated references in docs/
  openapi-check  test a running server against docs/openapi.json (schemathesis, from PyPI)
  dashboard  build the dashboard's pages (npm); the next cargo build embeds them
  serve      build the dashboard if npm is installed, then `cargo run --profile serve -- serve` with the remaining arguments (--demo, --port …)
  web        the TypeScript SDK and the dashboard: lint, build, tests in Node and in Chromium, against the build of profile serve
  bench      the server's process against the budgets, as a table; further arguments go to the measurement (--help)
               --against BINARY: old and new in turn, twenty pairs per row, the ratio with its 95 % interval
  bench peers  ours against ws, Socket.IO, Bun and NATS (bench/peers), as tables of figures and ratios; --against BINARY as above
  bench rivals   ours beside Sockudo, to which a backend publishes by POST; builds it in the target folder first (some ten minutes)
  bench synced   the ack levels logged and synced beside each other and the disk: events/s, CPU, latency of acks in an open loop
  bench many     memory and heartbeat CPU of idle connections and open sessions by their number, with a straight line through them
  bench --instructions  instructions per event, by callgrind; --against COMMIT compares with another commit
  fuzz       feed fuzz targets on stable: `cargo xtask fuzz [TARGET…] [--seconds N] [--seed S]`, ten seconds for each target if not said;
               --input FILE runs one that has failed, --write-corpus makes the corpora anew, --help shows the rest
  simulate   several servers on one log, their clients and faults, by seed, in the release build: `cargo xtask simulate [--minutes M]`, ten
               minutes if not said; seeds that fail go to suite/simulation/seeds.txt, further arguments to `agentbench simulate` (--help)
  microbench criterion benchmarks of codec, envelope, session and log
  coverage   lines that the tests run, per package, and the files with most uncovered lines; `cargo xtask coverage NAME…`
               measures these crates (agentbench-session) and packages (web/client); not part of ci
  ci         everything that continuous integration runs: lint, tidy, deny, test, openapi-check, a build of profile serve, web and every scenario of the suite,
               a tenth of each

Cargo profiles (docs/adr/0017): `serve` takes half the time to build, for serve, web, ci and its suite. `release` is measured and
shipped: bench and `cargo build --release`. `dev` is for test and openapi-check.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let task = words.first().map_or("help", String::as_str);
    let rest: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let done = match task {
        "setup" => setup(),
        "test" => setup().and_then(|()| test::run(&rest)),
        "lint" => lint(),
        "tidy" => tidy::run(),
        "deny" => deny::check(),
        "codegen" => codegen::write(),
        "bench" if rest.first() == Some(&"peers") => peers::run(&rest[1..]),
        "bench" if rest.first() == Some(&"--instructions") => instructions::count(&rest[1..]),
        "bench" if rest.first() == Some(&"rivals") => rivals::run(&rest[1..]),
        "bench" if rest.first() == Some(&"synced") => measured_by("synced", &rest[1..]),
        "bench" if rest.first() == Some(&"many") => measured_by("many", &rest[1..]),
        "openapi-check" => cargo(&["build", "-p", "agentbench-cli"]).and_then(|()| openapi::check()),
        "dashboard" => dashboard::build(),
        "serve" => serve(&rest),
        "web" => dashboard::build().and_then(|()| build()).and_then(|()| web::check()),
        "bench" => measured_by("budgets", &rest),
        "fuzz" => fuzz(&rest),
        "simulate" => simulate(&rest),
        "microbench" => cargo(&[&["bench", "--workspace"], &rest[..]].concat()),
        "coverage" => coverage::measure(&rest),
        "ci" => ci(),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        other => Err(anyhow::anyhow!("there is no task {other:?}\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Prints a command and runs it in the workspace's folder.
pub(crate) fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    eprintln!("› {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{program} {} failed ({status})", arguments.join(" "));
    }
    Ok(())
}

pub(crate) fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    run("cargo", arguments)
}

/// The output of a command, if it can be run and succeeds.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn setup() -> anyhow::Result<()> {
    // Some dependencies (zstd, mimalloc) are written in C.
    if output("cc", &["--version"]).is_none() {
        if output("id", &["-u"]).is_none_or(|id| id.trim() != "0") {
            bail!("a C compiler is missing: install build-essential (or your system's equivalent)");
        }
        run("apt-get", &["update", "-qq"])?;
        run("apt-get", &["install", "-y", "-qq", "build-essential"])?;
    }
    from_debian()?;
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if output("cargo", &[tool, "--version"]).is_none() {
            run("rustup", &["component", "add", component])?;
        }
    }
    Ok(())
}

/// The proxies that tests put in front of the server, and the checker of the Prometheus rules. Without them, those tests report
/// that they are skipped.
fn from_debian() -> anyhow::Result<()> {
    let is_there = |program: &str| {
        ["/usr/sbin", "/usr/bin"].iter().any(|folder| Path::new(folder).join(program).is_file())
    };
    let missing: Vec<&str> = [("haproxy", "haproxy"), ("nginx", "nginx-light"), ("promtool", "prometheus")]
        .into_iter()
        .filter(|(program, _)| !is_there(program) && output(program, &["--version"]).is_none())
        .map(|(_, package)| package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let may_install = output("id", &["-u"]).is_some_and(|id| id.trim() == "0")
        && output("apt-get", &["--version"]).is_some();
    if !may_install {
        eprintln!("setup: {} not installed; the tests that need them are skipped", missing.join(" and "));
        return Ok(());
    }
    run("apt-get", &["update", "-qq"])?;
    run("apt-get", &[&["install", "-y", "-qq", "--no-install-recommends"], &missing[..]].concat())
}

fn lint() -> anyhow::Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])
}

/// The whole product from a fresh checkout: the pages if they can be built, then a server.
fn serve(rest: &[&str]) -> anyhow::Result<()> {
    let page = std::fs::read_to_string(root().join("docs/settings.md"))?;
    serve_flags::check(&page, rest)?;
    if let Err(error) = dashboard::build() {
        eprintln!("serve: continuing without the dashboard's pages: {error:#}");
    }
    cargo(&[&["run", "--profile", "serve", "--", "serve"], rest].concat())
}

/// Benchmarks use the profile that is shipped: release.
/// Builds the server and a measurement of `suite/load`, and runs it.
pub(crate) fn measured_by(measurement: &str, rest: &[&str]) -> anyhow::Result<()> {
    let bins = ["--bin", "agentbench", "--bin", measurement];
    cargo(&[&["build", "--release", "-p", "agentbench-cli", "-p", "agentbench-load"], &bins[..]].concat())?;
    run(&target().join("release").join(measurement).to_string_lossy(), rest)
}

/// Not optimised, as the tests are: overflows and the assertions of debug builds count.
fn fuzz(rest: &[&str]) -> anyhow::Result<()> {
    cargo(&[&["run", "-q", "-p", "agentbench-fuzz-targets", "--all-features", "--"], rest].concat())
}

/// Optimised: more worlds in the same time.
fn simulate(rest: &[&str]) -> anyhow::Result<()> {
    cargo(&["build", "--release", "-p", "agentbench-cli"])?;
    let binary = target().join("release/agentbench");
    // A schedule, a number of steps and the help need no time.
    let has = |flag: &&str| rest.iter().any(|word| word.split('=').next() == Some(*flag));
    let is_one_world = ["--schedule", "--help", "-h"].iter().any(has);
    let mut words = vec!["simulate"];
    if !is_one_world {
        words.extend(["--keep", "suite/simulation/seeds.txt"]);
        if !["--minutes", "--steps"].iter().any(has) {
            words.extend(["--minutes", "10"]);
        }
    }
    run(&binary.to_string_lossy(), &[&words[..], rest].concat())
}

/// Builds [`binary`].
fn build() -> anyhow::Result<()> {
    cargo(&["build", "--profile", "serve", "-p", "agentbench-cli"])
}

/// The server for tests from outside, in the profile that builds quickly.
pub(crate) fn binary() -> PathBuf {
    target().join("serve/agentbench")
}

pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn ci() -> anyhow::Result<()> {
    setup()?;
    lint()?;
    tidy::run()?;
    deny::check()?;
    test::run(&[])?;
    // With the binary that the tests used.
    openapi::check()?;
    dashboard::build()?;
    build()?;
    web::check()?;
    suite()
}

/// Every scenario, a tenth of each, on the build of profile `serve`; and one by the name that web developers know.
fn suite() -> anyhow::Result<()> {
    let output = target().join("suite");
    let output = output.to_string_lossy();
    let status = Command::new(binary())
        .args(["suite", "full", "--quick", "--output", &output])
        // This build has none of the defects that this option enables; the suite would find it if it had.
        .env("AGENTBENCH_SABOTAGE", "ack_before_log")
        .current_dir(root())
        .status()?;
    anyhow::ensure!(status.success(), "agentbench suite full --quick: {status}");
    run(
        "npm",
        &["run", "--silent", "test:connection", "--", "--quick", "--only", "Basic", "--output", &output],
    )
}
