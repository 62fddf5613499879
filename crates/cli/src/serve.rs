//! `agentbench serve`: settings, keys, the server, signals.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use agentbench_auth::{Algorithm, Claims, KeyRing, Permission, Role, SigningKey, secret_strength, sign};
use agentbench_server::config::{Config, SETTINGS, Texts};
use agentbench_server::{Control, Engine, Server, bind};
use anyhow::{Context, bail};
use clap::builder::{Str, StyledStr};
use clap::{ArgAction, ArgMatches, Args, FromArgMatches};
use tokio::signal::unix::{SignalKind, signal};

use crate::logging::Level;
use crate::systemd::{self, Notifier};
use crate::{demo, logging, secret};

/// Lifetime of the sample tokens of a development server.
const SAMPLE_TOKEN_SECONDS: u64 = 7 * 24 * 3600;

/// Arguments of `serve`. Its flags are generated from the table of settings.
pub(crate) struct Arguments {
    flags: Vec<(String, String)>,
    file: Option<PathBuf>,
    print_config: bool,
    demo: bool,
}

impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = SETTINGS.iter().filter_map(|setting| {
            let value = matches.get_one::<String>(setting.name)?;
            Some((setting.name.to_owned(), value.clone()))
        });
        Ok(Self {
            flags: flags.collect(),
            file: matches.get_one::<PathBuf>("config").cloned(),
            print_config: matches.get_flag("print-config"),
            demo: matches.get_flag("demo"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Arguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        let command = command
            .arg(
                clap::Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("settings file; agentbench.toml in the current folder if not given and present"),
            )
            .arg(
                clap::Arg::new("print-config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("print each setting, its value and its source, and exit"),
            )
            .arg(
                clap::Arg::new("demo")
                    .long("demo")
                    .action(ArgAction::SetTrue)
                    .help("run three simulated agents in a loop and print a link to watch them; their sessions are kept in DATA_DIR/demo for six hours"),
            )
            .after_help(
                "Flags override environment variables, which override the settings file, which overrides the defaults.",
            );
        SETTINGS.iter().fold(command, |command, setting| {
            let default = if setting.default.is_empty() {
                String::new()
            } else {
                format!(", default {}", setting.default)
            };
            let help = format!("{} [{}{default}]", setting.help, setting.env);
            command.arg(
                clap::Arg::new(Str::from(setting.name))
                    .long(Str::from(setting.name))
                    .value_name("VALUE")
                    .help(StyledStr::from(help)),
            )
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// Runs a server until a signal stops it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let texts = texts(arguments)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut config = Config::from_texts(&texts, &host_name(), cores)?;
    if arguments.print_config {
        print_config(&texts);
        return Ok(ExitCode::SUCCESS);
    }
    config.release_memory = Some(crate::allocator::release_free_memory);
    let level = logging::start(&config)?;
    agentbench_server::end_process_when_a_worker_panics();
    warn_of_secret(&texts, &config);
    let (keys, sample_secret) = keys(&mut config)?;
    if arguments.demo {
        prepare_demo(&mut config, sample_secret.is_some())?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reloading =
        Reloader { arguments, keys_file: config.jwt_keys_file.clone(), production: config.production, level };
    runtime.block_on(serve(config, keys, sample_secret, &reloading, arguments.demo))
}

/// Gives the demo a data folder of its own, so that removing its leftovers cannot remove other sessions.
fn prepare_demo(config: &mut Config, has_secret: bool) -> anyhow::Result<()> {
    if config.production || !has_secret {
        bail!(
            "--demo is for development: it mints tokens with JWT_SECRET, or with the secret that a development server generates"
        );
    }
    if config.security.tls.is_some() {
        bail!("--demo uses plain WebSocket: remove --tls-cert and --tls-key");
    }
    config.data_dir.push("demo");
    config.retention_age.get_or_insert(demo::KEPT);
    Ok(())
}

/// Current values of flags, environment and settings file.
fn texts(arguments: &Arguments) -> anyhow::Result<Texts> {
    let file = read_file(arguments.file.as_deref())?;
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Ok(Texts::gather(file.as_deref(), env, &arguments.flags)?)
}

/// The settings file that was named, or `agentbench.toml` in the current folder if there is one.
pub(crate) fn read_file(named: Option<&Path>) -> anyhow::Result<Option<String>> {
    match named {
        Some(path) => Ok(Some(
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        )),
        None => match std::fs::read_to_string("agentbench.toml") {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("cannot read agentbench.toml"),
        },
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "node".to_owned() } else { name.trim().to_owned() }
}

fn print_config(texts: &Texts) {
    for (name, value, origin) in texts.iter() {
        outln!("{name:<24} {value:<32} {origin}");
    }
}

/// Warns of secrets that development accepts and production would not.
fn warn_of_secret(texts: &Texts, config: &Config) {
    if texts.get("jwt-secret").0 != config.jwt_secret {
        tracing::warn!(
            "JWT_SECRET ends in a line break, which is removed; programs that sign with it must remove it, too"
        );
    }
    if config.jwt_keys_file.is_some() && !config.jwt_secret.is_empty() {
        tracing::warn!(
            "JWT_SECRET is not used: JWT_KEYS_FILE names the keys; a key without a kid there can hold the same secret"
        );
    } else if !config.production
        && !config.jwt_secret.is_empty()
        && let Err(weak) = secret_strength(&config.jwt_secret)
    {
        tracing::warn!("JWT_SECRET is accepted in development only: {weak}");
    }
}

/// The keys that tokens are verified with and, in development, the secret to sign sample tokens with.
fn keys(config: &mut Config) -> anyhow::Result<(KeyRing, Option<String>)> {
    if let Some(path) = &config.jwt_keys_file {
        return Ok((read_keys(path, config.production)?, None));
    }
    if !config.jwt_secret.is_empty() {
        if config.production {
            secret_strength(&config.jwt_secret)
                .context("JWT_SECRET is too weak for production; try: openssl rand -hex 32")?;
        }
        let sample = (!config.production).then(|| config.jwt_secret.clone());
        return Ok((KeyRing::from_secret(config.jwt_secret.as_bytes()), sample));
    }
    if config.production && config.security.jwks.is_some() {
        return Ok((KeyRing::from_secret(b""), None));
    }
    if config.production {
        bail!("production needs JWT_SECRET (try: openssl rand -hex 32), JWT_KEYS_FILE or JWKS_URL");
    }
    let made = secret::load_or_make(&config.data_dir)?;
    config.jwt_secret.clone_from(&made);
    Ok((KeyRing::from_secret(made.as_bytes()), Some(made)))
}

fn read_keys(path: &Path, production: bool) -> anyhow::Result<KeyRing> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let keys = KeyRing::from_json(&text).with_context(|| format!("{} is not usable", path.display()))?;
    if let Some((kid, weak)) = keys.weak_secrets().next().filter(|_| production) {
        bail!("the key {:?} in {} is too weak for production: {weak}", kid.unwrap_or(""), path.display());
    }
    Ok(keys)
}

async fn serve(
    config: Config,
    keys: KeyRing,
    sample_secret: Option<String>,
    reloading: &Reloader<'_>,
    with_demo: bool,
) -> anyhow::Result<ExitCode> {
    let address = (config.host, config.port).into();
    let listeners = match systemd::listeners(config.workers)? {
        Some(listeners) => listeners,
        None => bind(address, config.workers).with_context(|| {
            format!("cannot listen on {address}; is another server running there? (--port chooses another)")
        })?,
    };
    let notifier = Notifier::from_env();
    let timeout = config.shutdown_timeout;
    let server = Server::start(config, keys, listeners, Engine::Embedded)?;
    announce(&server, sample_secret.as_deref().filter(|_| !with_demo))?;
    let mut requests = server.control();
    let mut demo = None;
    if let Some(secret) = sample_secret.as_deref().filter(|_| with_demo) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        demo = Some(demo::start(server.address(), secret, now).await?);
    }
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    notifier.watch(server.probe());
    notifier.ready();
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                // The outcome is in the log.
                notifier.reloading();
                let _ = reloading.reload(&server);
                notifier.ready();
            }
            request = requests.recv() => match request {
                Some(Control::Reload(reply)) => {
                    // The requester may have disconnected.
                    let _ = reply.send(reloading.reload(&server));
                }
                Some(Control::Drain) | None => break,
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notifier.stopping();
    if let Some(demo) = demo {
        demo.end().await;
    }
    tracing::info!(connections = server.connections(), "stopping");
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    // The workers have their own deadline; the log may need longer.
    match tokio::time::timeout(timeout * 2, stopped).await {
        Ok(Ok(Ok(()))) => Ok(ExitCode::SUCCESS),
        Ok(Ok(Err(error))) => Err(anyhow::anyhow!("the log could not be closed: {error}")),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            eprintln!("agentbench: shutdown did not complete in time");
            std::process::exit(1);
        }
    }
}

/// Reloads keys, certificate and log level while the server runs.
struct Reloader<'a> {
    arguments: &'a Arguments,
    keys_file: Option<PathBuf>,
    production: bool,
    level: Level,
}

impl Reloader<'_> {
    /// Applies new keys and a new certificate to new connections (open ones are unaffected), and a new log level. Returns what was
    /// reloaded, or what failed.
    fn reload(&self, server: &Server) -> Result<String, String> {
        server.refresh_certificate();
        let (keys, level) = (self.read_keys(server), self.read_level());
        match (keys, level) {
            (Ok(keys), Ok(level)) => Ok(format!("{keys}; {level}")),
            (Err(error), Ok(done)) | (Ok(done), Err(error)) => Err(format!("{error}; {done}")),
            (Err(keys), Err(level)) => Err(format!("{keys}; {level}")),
        }
    }

    fn read_level(&self) -> Result<String, String> {
        let changed = texts(self.arguments).and_then(|texts| self.level.change(texts.get("log-level").0));
        match changed {
            Ok(done) => {
                tracing::info!("{done}");
                Ok(done)
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the log level could not be reloaded; the old one remains");
                Err(format!("the old log level remains: {error}"))
            }
        }
    }

    fn read_keys(&self, server: &Server) -> Result<String, String> {
        let Some(path) = &self.keys_file else {
            tracing::info!("there is no JWT_KEYS_FILE to reload");
            return Ok("there is no JWT_KEYS_FILE to reload".to_owned());
        };
        match read_keys(path, self.production) {
            Ok(keys) => {
                server.set_keys(keys);
                tracing::info!(path = %path.display(), "reloaded the keys");
                Ok("the keys were reloaded".to_owned())
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the keys could not be reloaded; the old ones remain");
                Err(format!("the old keys remain: {error}"))
            }
        }
    }
}

/// The address that a browser on this machine can open.
pub(crate) fn browser_address(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Prints where the server listens and, for a development server, links to sign in: the dashboard reads the token after `#`,
/// which browsers do not send.
fn announce(server: &Server, sample_secret: Option<&str>) -> anyhow::Result<()> {
    let recovery = server.recovery();
    tracing::info!(address = %server.address(), ?recovery, "ready");
    let scheme = if server.is_encrypted() { "wss" } else { "ws" };
    outln!("listening on {scheme}://{}", server.address());
    let Some(secret) = sample_secret else { return Ok(()) };
    let key = SigningKey::from_secret(Algorithm::Hs256, secret.as_bytes())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let scheme = if server.is_encrypted() { "https" } else { "http" };
    let link = |user: &str, role, permissions: &[Permission]| {
        let permissions = permissions.iter().map(|permission| permission.as_str().to_owned()).collect();
        let claims = Claims { permissions, ..Claims::new(user, role, now, now + SAMPLE_TOKEN_SECONDS) };
        let token = sign(&claims, &key)?;
        anyhow::Ok(format!("{scheme}://{}/#token={token}", browser_address(server.address())))
    };
    outln!("\nSign in to the dashboard of this development server; each link is valid for a week:\n");
    outln!("administrator  {}\n", link("sample-admin", Role::Admin, &[])?);
    outln!("reviewer       {}\n", link("sample-reviewer", Role::Viewer, &[Permission::SessionReview])?);
    outln!("Tokens for agents and others: agentbench token mint --role evaluator\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_to_an_address_that_it_can_open() {
        for (bound, opened) in [
            ("0.0.0.0:3001", "127.0.0.1:3001"),
            ("[::]:3001", "[::1]:3001"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("192.0.2.7:3001", "192.0.2.7:3001"),
        ] {
            assert_eq!(browser_address(bound.parse().unwrap()).to_string(), opened);
        }
    }
}
