//! The one binary. It parses what was asked for and calls; what things mean is decided in the crates below.

#[macro_use]
mod say;

mod access;
mod alerts;
mod allocator;
mod api;
mod audit;
mod demo;
mod doctor;
mod echo;
mod inspect;
mod load;
mod logging;
mod profile;
mod proxy;
mod secret;
mod serve;
mod sessions;
mod suite;
mod systemd;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Live sessions of AI-agent evaluations: the server, its tools, and the suite that proves it.
#[derive(Parser)]
#[command(name = "agentbench", version, propagate_version = true, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 a promise or threshold was broken or the request was refused, 2 could not run (wrong usage, no server, …).

Try: agentbench serve          start a server on port 3001 and print links to sign in
     agentbench token mint     make a token
     agentbench help COMMAND   what a command does";

#[derive(Subcommand)]
enum Command {
    /// Run a server
    Serve(serve::Arguments),
    /// Make and look at tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Look at sessions, follow them, publish to them
    Sessions(sessions::Arguments),
    /// Look whether machine, folder, keys, certificate and server are fit: figures, and what to do
    Doctor(doctor::Arguments),
    /// Follow the frames of a connection or of a session's participants live
    Inspect(inspect::Arguments),
    /// Take a CPU profile of a running server as a flame graph
    Profile(profile::Arguments),
    /// Check the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show that the server's alerts work
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Test a server: load, promises, report
    #[command(subcommand)]
    Suite(suite::Command),
    /// Load any WebSocket server, ours or another: deliveries or echoes a second, latency, what it costs
    Load(load::Arguments),
    /// Break connections on purpose: a TCP proxy that knows WebSocket messages
    Proxy(proxy::Arguments),
    /// Echo WebSocket messages, for conformance suites
    #[command(hide = true)]
    Echo(echo::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Token(command) => token::run(&command),
        Command::Sessions(arguments) => sessions::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Profile(arguments) => profile::run(&arguments),
        Command::Audit(command) => audit::run(&command),
        Command::Alerts(command) => alerts::run(&command),
        Command::Suite(command) => suite::run(&command),
        Command::Load(arguments) => load::run(&arguments),
        Command::Proxy(arguments) => proxy::run(&arguments),
        Command::Echo(arguments) => echo::run(&arguments),
    };
    match done {
        Ok(_) if say::failed() => ExitCode::from(2),
        Ok(code) => code,
        Err(error) if say::nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agentbench: {error:#}");
            ExitCode::from(2)
        }
    }
}
