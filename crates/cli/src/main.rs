//! The `agentbench` binary: parses arguments and calls the crates below, which hold the logic.

#[macro_use]
mod output;

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
mod log;
mod logging;
mod profile;
mod progress;
mod proxy;
mod secret;
mod serve;
mod sessions;
mod simulate;
mod suite;
mod systemd;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Live sessions for AI-agent evaluations: the server, its tools, and the suite that verifies it
#[derive(Parser)]
#[command(name = "agentbench", version, propagate_version = true, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 a promise or threshold was broken, or the request was refused, 2 could not run (wrong usage, no server, …).

Try: agentbench serve          start a server on port 3001 and print links to sign in
     agentbench token mint     mint a token
     agentbench help COMMAND   show what a command does";

#[derive(Subcommand)]
enum Command {
    /// Run a server
    Serve(serve::Arguments),
    /// Mint and inspect tokens
    #[command(subcommand)]
    Token(token::Command),
    /// List, follow and create sessions, and publish to them
    Sessions(sessions::Arguments),
    /// Check the machine, data folder, keys, certificate and server: a figure and advice for each
    Doctor(doctor::Arguments),
    /// Show the frames of a connection, or of a session's participants, live
    Inspect(inspect::Arguments),
    /// Take a CPU profile of a running server as a flame graph
    Profile(profile::Arguments),
    /// Check, save or migrate the log of a stopped server
    #[command(subcommand)]
    Log(log::Command),
    /// Verify the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Test that the server's alerts fire and clear
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Test a server: load, promises, report
    #[command(subcommand)]
    Suite(suite::Command),
    /// Simulate several servers on one log with their clients and faults, decided by a seed; repeat and shrink failures
    Simulate(simulate::Arguments),
    /// Put load on any WebSocket server, ours or another: deliveries or echoes per second, latency, resource use
    Load(load::Arguments),
    /// Inject connection faults: a TCP proxy that understands WebSocket messages
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
        Command::Log(command) => log::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Alerts(command) => alerts::run(&command),
        Command::Suite(command) => suite::run(&command),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::Proxy(arguments) => proxy::run(&arguments),
        Command::Echo(arguments) => echo::run(&arguments),
    };
    match done {
        Ok(_) if output::failed() => ExitCode::from(2),
        Ok(code) => code,
        Err(error) if output::is_output_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agentbench: {error:#}");
            ExitCode::from(2)
        }
    }
}
